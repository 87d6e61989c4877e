// Go's side of W17, W18 and W19: net/http, with TLS by crypto/tls.
//
//	net_web --certificate FILE --key FILE --files FOLDER [--workers N]
//
// Prints "listening on 127.0.0.1:P" and "TLS on 127.0.0.1:Q".
package main

import (
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
)

func listen(what string) net.Listener {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%s on %s\n", what, listener.Addr())
	return listener
}

func constant(body []byte) http.HandlerFunc {
	return func(response http.ResponseWriter, _ *http.Request) {
		response.Header().Set("Content-Type", "text/plain")
		response.Write(body)
	}
}

func main() {
	workers := flag.Int("workers", 1, "GOMAXPROCS")
	certificate := flag.String("certificate", "", "PEM")
	key := flag.String("key", "", "PEM")
	files := flag.String("files", "", "the folder of /files/")
	flag.Parse()
	runtime.GOMAXPROCS(*workers)
	http.HandleFunc("/", constant([]byte("Hello, world!\n")))
	http.HandleFunc("/kib", constant(bytes.Repeat([]byte("x"), 1024)))
	http.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir(*files))))
	plain, secure := listen("listening"), listen("TLS")
	// HTTP/1.1 only: the clients offer no other protocol.
	server := http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	go http.Serve(plain, nil)
	fmt.Fprintln(os.Stderr, server.ServeTLS(secure, *certificate, *key))
}
