// Echo answers each request with what it was asked and with how many it has answered before: a workload that a test
// can count. Asked to end, it says so to its readiness probe first, answers what comes until the endpoints know, and
// then ends in order.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

type answer struct {
	Count  int64  `json:"count"`
	Pod    string `json:"pod"`
	Node   string `json:"node"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Client string `json:"client"`
	Body   string `json:"body"`
}

func main() {
	address := flag.String("listen", ":8080", "address to listen on")
	drain := flag.Duration("drain", 5*time.Second, "how long it goes on after it was asked to end")
	flag.Parse()
	var count atomic.Int64
	var ending atomic.Bool
	pod, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if ending.Load() {
			http.Error(w, "ending", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/live", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if ending.Load() {
			w.Header().Set("Connection", "close")
		}
		said := answer{count.Add(1), pod, os.Getenv("NODE_NAME"), r.Method, r.URL.Path, r.RemoteAddr, string(body)}
		if err := json.NewEncoder(w).Encode(said); err != nil {
			log.Print(err)
		}
	})
	server := &http.Server{Addr: *address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ended := make(chan struct{})
	go func() {
		<-asked.Done()
		ending.Store(true)
		time.Sleep(*drain)
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Shutdown(limit); err != nil {
			log.Print(err)
		}
		close(ended)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-ended
}
