// The Go half of the handshake bench: accepts mutual TLS, echoes one octet, closes.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"os"
)

func main() {
	folder := os.Args[1]
	pair, err := tls.LoadX509KeyPair(folder+"/server.crt", folder+"/server.key")
	if err != nil {
		log.Fatal(err)
	}
	authority, err := os.ReadFile(folder + "/ca.crt")
	if err != nil {
		log.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	fmt.Println(listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			stream := tls.Server(connection, config)
			io.CopyN(stream, stream, 1)
			stream.Close()
		}()
	}
}
