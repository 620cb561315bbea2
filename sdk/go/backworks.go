// SPDX-License-Identifier: MIT

// Package backworks is the kit for plugins of Backworks in Go.
//
// A plugin is a main package, built with go build -buildmode=c-shared, that registers how one is made:
//
//	package main
//
//	// #include "sdk/backworks_go.h"
//	// BACKWORKS_GO_PLUGIN("echo", "1.0.0", "description": "Answers what it was sent")
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
// A panic in any function that the host calls is caught and answers INTERNAL with its text; the instance goes on. A
// panic in a goroutine that the plugin starts ends the process, as it does in every Go program, and so do the runtime's
// fatal errors, such as a map that two goroutines write at once.
//
// A process holds one Go runtime, which is never unloaded and does not survive fork(). The manifest therefore says
// "isolation": ["process"], and the host runs the plugin in processes of its own only.
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
// It may have the methods of [HealthChecker], [Reconfigurer] and [Shutdowner] as well.
type Plugin interface {
	// Process answers one request. A nil response without an error means "not mine". The context ends when the caller
	// stops to wait.
	Process(ctx context.Context, request *Request) (*Response, error)
}

// HealthChecker is a plugin that can tell within a second whether it can do its work.
type HealthChecker interface {
	// HealthCheck returns a text for people, which may be empty, or the reason why it cannot.
	HealthCheck() (string, error)
}

// Reconfigurer is a plugin that takes another configuration while no other call runs.
type Reconfigurer interface {
	// Reconfigure takes a JSON object, or returns the reason why the plugin goes on with the one that it has.
	Reconfigure(config []byte) error
}

// Shutdowner is a plugin that has something to do at its end, after its last call: it stops the goroutines that it
// started.
type Shutdowner interface {
	// Shutdown ends the plugin; an error is logged, and the plugin ends nevertheless.
	Shutdown() error
}

// Request is one request. It is the plugin's: nothing of it is borrowed.
type Request struct {
	Endpoint    string // the route as the configuration writes it
	Method      string // in upper case
	Data        []byte // any bytes
	Traceparent string // the W3C Trace Context, or empty
	Tracestate  string
}

// Response is one answer.
type Response struct {
	Data        []byte
	ContentType string // empty: the host's default, application/json
	Status      int    // the HTTP status, 200 to 599; 0: 200
	headers     string
}

// AddHeader adds one header field. A line break or another control character in it, which would smuggle in another
// field, is an error.
func (response *Response) AddHeader(name, value string) error {
	control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	if name == "" || strings.ContainsAny(name, ": \t") || strings.ContainsFunc(name, control) {
		return Errorf(Internal, "%q is not the name of a header field", name)
	}
	if strings.ContainsFunc(value, control) {
		return Errorf(Internal, "the value of the header field %s holds a control character: %q", name, value)
	}
	response.headers += name + ": " + value + "\r\n"
	return nil
}

// Code is the kind of an error: gRPC's canonical codes by number.
type Code int32

// The codes, with the HTTP status that the host answers with.
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

// Error is an error that goes to the host with a code. Another error goes as [Unknown], and that of a context whose
// time is over as [DeadlineExceeded].
type Error struct {
	Code    Code
	Message string
	Status  int // the HTTP status, 200 to 599; 0: the usual one of the code
}

// Error returns the message.
func (err *Error) Error() string { return err.Message }

// Errorf makes an error with a code.
func Errorf(code Code, format string, arguments ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, arguments...)}
}

var factory func(host *Host, config []byte) (Plugin, error)

// Register says how an instance is made: from the way to the host's log, and a JSON object that is empty where nothing
// is configured. Called once, from an init function; make is not called by two goroutines at once.
func Register(make func(host *Host, config []byte) (Plugin, error)) {
	if factory != nil {
		panic("backworks.Register is called twice: a library holds one plugin")
	}
	factory = make
}

// asError finds what an error of the plugin says to the host.
func asError(err error) *Error {
	var own *Error
	switch {
	case errors.As(err, &own):
		// A code outside of the table, such as 0, would be success or nothing.
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
