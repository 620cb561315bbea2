// A plugin that does what the endpoint says, for test_kits.py; written with the Go kit.
package main

/*
#include "sdk/backworks_go.h"
BACKWORKS_GO_PLUGIN("probe", "1.2.3", "description": "Does what the endpoint says")
*/
import "C"

import (
	"backworks"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

type probe struct {
	host   *backworks.Host
	config string
}

// badError panics where it is asked what it says.
type badError struct{}

func (badError) Error() string { panic("no words") }

// badText panics where it is printed.
type badText struct{}

func (badText) String() string { panic("no text") }

func newProbe(host *backworks.Host, config []byte) (backworks.Plugin, error) {
	host.Log(backworks.Info, "made")
	if strings.Contains(string(config), "refuse") {
		return nil, backworks.Errorf(backworks.Unavailable, "not today")
	}
	if strings.Contains(string(config), "panic") {
		panic("cannot begin")
	}
	return &probe{host, string(config)}, nil
}

func text(text string) *backworks.Response { return &backworks.Response{Data: []byte(text)} }

func (p *probe) Process(ctx context.Context, request *backworks.Request) (*backworks.Response, error) {
	switch request.Endpoint {
	case "/echo":
		return &backworks.Response{Data: request.Data}, nil
	case "/none":
		return nil, nil
	case "/config":
		return text(p.config), nil
	case "/method":
		return text(request.Method), nil
	case "/trace":
		return text(request.Traceparent + "|" + request.Tracestate), nil
	case "/deadline":
		if _, limited := ctx.Deadline(); limited {
			return text("limited"), nil
		}
		return text("endless"), nil
	case "/rich":
		response := &backworks.Response{Data: []byte("made"), ContentType: "text/csv", Status: 201}
		return response, errors.Join(response.AddHeader("X-One", "1"), response.AddHeader("X-Two", "2"))
	case "/smuggle":
		return text("x"), text("x").AddHeader("X-One", "1\r\nX-Two: 2")
	case "/code":
		code, err := strconv.Atoi(string(request.Data))
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("as you wish%w", &backworks.Error{Code: backworks.Code(code)})
	case "/status":
		return nil, &backworks.Error{Code: backworks.NotFound, Message: "gone", Status: 410}
	case "/panic":
		panic("the horror: " + string(request.Data))
	case "/nil":
		var none map[string]int
		none["x"] = 1
	case "/bad-error":
		return nil, badError{}
	case "/bad-text":
		panic(badText{})
	case "/unclean":
		return nil, errors.New("a \xff\xc3\x28 b é")
	case "/index":
		return text(string(request.Data[7])), nil
	case "/wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "/thread":
		done := make(chan bool)
		go func() {
			p.host.Log(backworks.Warning, "from a thread")
			done <- true
		}()
		<-done
		return text(""), nil
	}
	return nil, backworks.Errorf(backworks.Unimplemented, "%s", request.Endpoint)
}

func (p *probe) HealthCheck() (string, error) {
	if strings.Contains(p.config, "sick") {
		return "", backworks.Errorf(backworks.Unavailable, "a cold")
	}
	return "well", nil
}

func (p *probe) Reconfigure(config []byte) error {
	if strings.Contains(string(config), "refuse") {
		return backworks.Errorf(backworks.InvalidArgument, "no")
	}
	p.config = string(config)
	return nil
}

func (p *probe) Shutdown() error {
	p.host.Log(backworks.Info, "ended")
	if strings.Contains(p.config, "fail-shutdown") {
		return errors.New("stuck")
	}
	return nil
}

func init() { backworks.Register(newProbe) }

func main() {}
