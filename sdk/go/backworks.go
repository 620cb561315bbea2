// SPDX-License-Identifier: MIT

// Package backworks is the Go kit for Backworks plugins.
//
// A plugin is a main package, built with go build -buildmode=c-shared, that registers a constructor:
//
//	package main
//
//	// #include "sdk/backworks_go.h"
//	// BACKWORKS_GO_PLUGIN("echo", "1.0.0", "description": "Returns what it receives")
//	import "C"
//
//	import (
//		"backworks"
//		"context"
//	)
//
//	type echo struct{}
//
//	func (echo) Process(_ context.Context, request *backworks.Request) (*backworks.Response, error) {
//		return &backworks.Response{Data: request.Data}, nil
//	}
//
//	func init() {
//		backworks.Register(func(*backworks.Host, []byte) (backworks.Plugin, error) { return echo{}, nil })
//	}
//
//	func main() {}
//
// A panic in a function that the host calls is caught and becomes INTERNAL with its text; the instance keeps working. A
// panic in a goroutine that the plugin starts ends the process, as in every Go program, and so do the runtime's fatal
// errors, such as concurrent map writes.
//
// A process can hold only one Go runtime, which is never unloaded and does not survive fork(). The manifest therefore
// says "isolation": ["process"], and the host runs the plugin only in worker processes.
package backworks

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Plugin is one instance. Its methods are called from several goroutines at once, unless the manifest says
// "thread_safe": false.
//
// It may also implement [HealthChecker], [Reconfigurer] and [Shutdowner].
type Plugin interface {
	// Process handles one request. A nil response without an error means "not mine". The context ends when the caller
	// stops waiting.
	Process(ctx context.Context, request *Request) (*Response, error)
}

// HealthChecker is a plugin that reports within a second whether it can do its work.
type HealthChecker interface {
	// HealthCheck returns a human-readable text, which may be empty, or the reason why the plugin cannot work.
	HealthCheck() (string, error)
}

// Reconfigurer is a plugin that accepts a new configuration while no other call runs.
type Reconfigurer interface {
	// Reconfigure takes a JSON object, or returns the reason why the plugin keeps the old configuration.
	Reconfigure(config []byte) error
}

// Shutdowner is a plugin with cleanup to do after its last call, such as stopping the goroutines that it started.
type Shutdowner interface {
	// Shutdown ends the plugin. An error is logged, and the plugin ends all the same.
	Shutdown() error
}

// Request is one request. The plugin may keep it: all fields are copies.
type Request struct {
	Endpoint    string // the route, as written in the configuration
	Method      string // in upper case
	Data        []byte // any bytes
	Traceparent string // the W3C Trace Context, or empty
	Tracestate  string
}

// Response is one response.
type Response struct {
	Data        []byte
	ContentType string // empty: the host's default, application/json
	Status      int    // the HTTP status, 200 to 599; 0: 200
	headers     string
}

// AddHeader adds one header field. A line break or another control character, with which a value could inject another
// field, is an error.
func (response *Response) AddHeader(name, value string) error {
	control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	if name == "" || strings.ContainsAny(name, ": \t") || strings.ContainsFunc(name, control) {
		return Errorf(Internal, "%q is not a valid header field name", name)
	}
	if strings.ContainsFunc(value, control) {
		return Errorf(Internal, "the value of the header field %s contains a control character: %q", name, value)
	}
	response.headers += name + ": " + value + "\r\n"
	return nil
}

// Code is the kind of an error: gRPC's canonical codes by number.
type Code int32

// The codes, with the default HTTP status of each.
const (
	Cancelled          Code = iota + 1 // 499
	Unknown                            // 500
	InvalidArgument                    // 400
	DeadlineExceeded                   // 504
	NotFound                           // 404
	AlreadyExists                      // 409
	PermissionDenied                   // 403
	ResourceExhausted                  // 429
	FailedPrecondition                 // 400
	Aborted                            // 409
	OutOfRange                         // 400
	Unimplemented                      // 501
	Internal                           // 500
	Unavailable                        // 503
	DataLoss                           // 500
	Unauthenticated                    // 401
)

// Error is an error with a code for the host. Any other error becomes [Unknown]; that of a context past its deadline
// becomes [DeadlineExceeded].
type Error struct {
	Code    Code
	Message string
	Status  int // the HTTP status, 200 to 599; 0: the default of the code
}

// Error returns the message.
func (err *Error) Error() string { return err.Message }

// Errorf returns an error with a code.
func Errorf(code Code, format string, arguments ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, arguments...)}
}

var factory func(host *Host, config []byte) (Plugin, error)

// Register sets the constructor of instances. It receives the host, for logging, and the configuration, a JSON object
// that is empty if nothing is configured. Call Register once, from an init function; make is never called concurrently.
func Register(make func(host *Host, config []byte) (Plugin, error)) {
	if factory != nil {
		panic("backworks.Register is called twice, but a library can hold only one plugin")
	}
	factory = make
}

// asError converts an error of the plugin into one for the host.
func asError(err error) *Error {
	var own *Error
	switch {
	case errors.As(err, &own):
		// An unknown code, such as 0, would mean success or nothing.
		if own.Code < Cancelled || own.Code > Unauthenticated {
			return &Error{Unknown, err.Error(), own.Status}
		}
		return &Error{own.Code, err.Error(), own.Status}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{DeadlineExceeded, err.Error(), 0}
	case errors.Is(err, context.Canceled):
		return &Error{Cancelled, err.Error(), 0}
	}
	return &Error{Unknown, err.Error(), 0}
}
