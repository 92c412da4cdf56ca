package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"reflect"
	"time"
)

// Bounds of one control connection.
const (
	bodyLimit   = 64 << 10 // bytes
	headerLimit = 16 << 10 // bytes
	patience    = 10 * time.Second
)

// Server answers on the control socket.
type Server struct {
	house House
	http  *http.Server
	end   context.CancelFunc // of the watches
}

type visitorKey struct{}

// NewServer makes a server for a house; Serve runs it.
func NewServer(h House) *Server {
	if h.Enrolled == nil || h.Log == nil {
		panic("api: a house must say who is enrolled, and have a log")
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Server{house: h, end: end}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: patience, IdleTimeout: patience, // ReadTimeout would end a watch: bodies have a deadline of their own
		MaxHeaderBytes: headerLimit,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, visitorKey{}, c.(*visitor))
		},
	}
	return s
}

// Serve answers until Close; l is closed with it. Its error is never nil.
func (s *Server) Serve(l net.Listener) error {
	return s.http.Serve(&door{Listener: l, house: s.house, inside: map[uint32]int{}})
}

// Close lets open requests end until ctx does; watches are ended at once.
func (s *Server) Close(ctx context.Context) error {
	s.end()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// verb is one handler: the answer is sent as JSON.
type verb func(ctx context.Context, p *peer, r *http.Request) (any, error)

// open wraps a verb that anybody who reaches the socket may use, except the enrolled.
func (s *Server) open(v verb) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guest := r.Context().Value(visitorKey{}).(*visitor)
		p := guest.peer
		if err := guest.admitted(); err != nil {
			w.Header().Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(refusalTime)) // for a body he may not send
			s.fail(w, err)
			return
		}
		if err := takeBody(w, r); err != nil {
			s.fail(w, err)
			return
		}
		answer, err := v(r.Context(), p, r)
		if err != nil {
			s.fail(w, err)
			return
		}
		if answer != errHandled {
			send(w, http.StatusOK, answer)
		}
	})
}

// takeBody reads a request's body whole: bounded, and in time.
func takeBody(w http.ResponseWriter, r *http.Request) error {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		return fmt.Errorf("%w: read the body: %w", ErrInvalid, err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return control.SetReadDeadline(time.Time{})
}

// root wraps a verb that changes the daemon; what it did is journalled.
func (s *Server) root(act string, v verb) http.Handler {
	return s.open(func(ctx context.Context, p *peer, r *http.Request) (any, error) {
		about := aboutOf(r)
		if p.uid != 0 {
			err := Hint(fmt.Errorf("%w: only root may %s", ErrRefused, act), "try again with sudo")
			s.acted(act, p, about, err)
			return nil, err
		}
		answer, err := v(ctx, p, r)
		s.acted(act, p, about, err)
		return answer, err
	})
}

func (s *Server) acted(act string, p *peer, about About, err error) {
	if s.house.Acted != nil {
		s.house.Acted(act, p.person().String(), about, err)
	}
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	body, status := onWire(err)
	send(w, status, map[string]*Error{"error": body})
}

func send(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if v := reflect.ValueOf(body); v.Kind() == reflect.Slice && v.IsNil() {
		text = []byte("[]") // an empty list is a list
	}
	if err != nil {
		text, status = []byte(`{"error":{"code":"failed","message":"the answer could not be encoded"}}`), http.StatusInternalServerError
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)) // a caller who does not read does not stay
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a caller who left does not need it
}

// read decodes a request strictly: one JSON object, nothing unknown, nothing after it.
func read(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return fmt.Errorf("%w: the body must be application/json", ErrInvalid)
	}
	return decode(r.Body, into)
}

func decode(from io.Reader, into any) error {
	dec := json.NewDecoder(from)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the request", ErrInvalid)
	}
	return nil
}
