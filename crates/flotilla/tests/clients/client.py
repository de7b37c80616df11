"""A stock client of Python's ssl module: client.py URL CA [CERTIFICATE KEY]; prints the status."""

import http.client
import ssl
import sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1])
context = ssl.create_default_context(cafile=sys.argv[2])
if len(sys.argv) > 3:
    context.load_cert_chain(sys.argv[3], sys.argv[4])
connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=context)
connection.request("GET", url.path)
print("HTTP/1.1", connection.getresponse().status)
