// Go's side of W8 and W15: echo, a goroutine per connection; the first 4 bytes of a message (little endian) are a
// number of nanoseconds to compute for before the answer.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"
)

const messageBytes = 64

func burn(message []byte) {
	nanoseconds := binary.LittleEndian.Uint32(message)
	if nanoseconds == 0 {
		return
	}
	end := time.Now().Add(time.Duration(nanoseconds))
	for time.Now().Before(end) {
	}
}

func echo(connection net.Conn) {
	defer connection.Close()
	message := make([]byte, 4096)
	for {
		count, err := connection.Read(message)
		if err != nil {
			return
		}
		if count >= messageBytes {
			burn(message)
		}
		if _, err := connection.Write(message[:count]); err != nil {
			return
		}
	}
}

func main() {
	workers := flag.Int("workers", 1, "GOMAXPROCS")
	flag.Parse()
	runtime.GOMAXPROCS(*workers)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	for {
		connection, err := listener.Accept() // TCP_NODELAY is Go's default
		if err != nil {
			continue
		}
		go echo(connection)
	}
}
