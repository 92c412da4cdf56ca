package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/approval"
)

// Client speaks to the daemon. Its errors match the sentinels of this package
// with errors.Is, and may carry a next step (HintOf).
type Client struct {
	path     string
	http     *http.Client
	patience time.Duration // with a call; watches go on
}

// answerLimit bounds an answer, in bytes.
const answerLimit = 64 << 20

// How long an answer may take. The longest but pruning is to enroll, with two canaries of 5 s.
const (
	answerTime = 30 * time.Second
	pruneTime  = time.Hour
)

// Dial makes a client for the socket at path. Nothing is connected before the first call.
func Dial(path string) *Client {
	c := &Client{path: path, patience: answerTime}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return c.connect(ctx) },
		MaxIdleConns:    1,
		IdleConnTimeout: time.Second,
	}}
	return c
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// connect dials the daemon and makes sure that it is one: a socket of another
// user would be told what only people and daemon should know.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, err
	}
	uid, err := ownerOf(conn.(*net.UnixConn))
	if err == nil && uid != 0 && uid != uint32(os.Geteuid()) {
		err = fmt.Errorf("%w: user %d answers there, who is not the daemon", ErrRefused, uid)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// ownerOf is the user who listens at the other end.
func ownerOf(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var fail error
	err = raw.Control(func(fd uintptr) { cred, fail = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, fail); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// unreachable says why the daemon did not answer, and what to do.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return Hint(fmt.Errorf("chaperone is not running (%w at %s)", ErrNotRunning, c.path), "start it with: systemctl start chaperone (or: sudo chaperone daemon)")
	case errors.Is(err, fs.ErrPermission):
		return Hint(fmt.Errorf("%w: no access to %s", ErrRefused, c.path), "use sudo, or join the group "+Group)
	}
	return fmt.Errorf("control socket %s: %w", c.path, err)
}

// send asks the daemon; the caller closes the body.
func (c *Client) send(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://chaperone"+path, payload)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // "Get http://chaperone/…" tells nobody anything
		}
		return nil, c.unreachable(err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(failure(res), res.Body.Close())
	}
	return res.Body, nil
}

// errSilent is a daemon that takes a connection and says nothing.
var errSilent = errors.New("chaperone does not answer")

// failure reads an error answer.
func failure(res *http.Response) error {
	var body struct {
		Error *Error `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, bodyLimit)).Decode(&body); err != nil || body.Error == nil {
		return fmt.Errorf("the daemon answered %s", res.Status)
	}
	return body.Error
}

// call asks the daemon and decodes its answer.
func call[A any](ctx context.Context, c *Client, method, path string, body any) (A, error) {
	var answer A
	within, cancel := context.WithTimeoutCause(ctx, c.patience, errSilent)
	defer cancel()
	from, err := c.send(within, method, path, body)
	if err == nil {
		defer from.Close()
		if err = json.NewDecoder(io.LimitReader(from, answerLimit)).Decode(&answer); err != nil {
			err = fmt.Errorf("read the daemon's answer: %w", err)
		}
	}
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(within), errSilent) {
		return answer, Hint(fmt.Errorf("%w within %s (%s)", errSilent, c.patience, c.path), "is it stopped? see its log, or: systemctl restart chaperone")
	}
	return answer, err
}

// WatchAsks calls seen with the pending asks and then with each that changes,
// until ctx ends (nil), seen fails, or the daemon ends the stream (io.EOF).
func (c *Client) WatchAsks(ctx context.Context, seen func(approval.View) error) error {
	from, err := c.send(ctx, http.MethodGet, "/v1/watch/asks", nil)
	if err != nil {
		return err
	}
	defer from.Close()
	dec := json.NewDecoder(from)
	for {
		var v approval.View
		if err := dec.Decode(&v); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := seen(v); err != nil {
			return err
		}
	}
}
