// A stock client of Go's crypto/tls: client URL CA [CERTIFICATE KEY]; prints the status.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	ca, err := os.ReadFile(arguments[1])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return fmt.Errorf("no CA certificate in %s", arguments[1])
	}
	config := &tls.Config{RootCAs: roots}
	if len(arguments) > 2 {
		pair, err := tls.LoadX509KeyPair(arguments[2], arguments[3])
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	response, err := client.Get(arguments[0])
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Println(response.Proto, response.StatusCode)
	return nil
}
