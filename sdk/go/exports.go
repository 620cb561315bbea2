// SPDX-License-Identifier: MIT

package backworks

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"runtime/cgo"
	"strings"
	"time"
	"unsafe"
)

// instance is the object behind the host's handle.
type instance struct {
	plugin Plugin
	host   *Host
}

//export backworksGoInit
func backworksGoInit(rawHost *C.backworks_host, config C.backworks_go_bytes, handle *C.uintptr_t) C.backworks_go_answer {
	host := &Host{raw: rawHost}
	_, failure := guard(func() (*Response, error) {
		if factory == nil {
			return nil, Errorf(Internal, "the plugin did not call backworks.Register")
		}
		plugin, err := factory(host, bytesOf(config))
		if err == nil && plugin == nil {
			err = Errorf(Internal, "the function given to backworks.Register returned neither a plugin nor an error")
		}
		if err == nil {
			*handle = C.uintptr_t(cgo.NewHandle(&instance{plugin, host}))
		}
		return nil, err
	})
	if failure != nil {
		host.detach()
	}
	return give(nil, failure)
}

//export backworksGoProcess
func backworksGoProcess(handle C.uintptr_t, raw *C.backworks_go_request) C.backworks_go_answer {
	return give(guard(func() (*Response, error) {
		ctx := context.Background()
		if raw.time_left_ns != 0 && raw.time_left_ns < 1<<62 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(raw.time_left_ns))
			defer cancel()
		}
		request := Request{
			Endpoint:    string(bytesOf(raw.endpoint)),
			Method:      string(bytesOf(raw.method)),
			Data:        bytesOf(raw.data),
			Traceparent: string(bytesOf(raw.traceparent)),
			Tracestate:  string(bytesOf(raw.tracestate)),
		}
		return find(handle).plugin.Process(ctx, &request)
	}))
}

//export backworksGoHealthCheck
func backworksGoHealthCheck(handle C.uintptr_t) C.backworks_go_answer {
	return give(guard(func() (*Response, error) {
		checker, ok := find(handle).plugin.(HealthChecker)
		if !ok {
			return nil, nil
		}
		text, err := checker.HealthCheck()
		if err != nil || text == "" {
			return nil, err
		}
		return &Response{Data: []byte(strings.ToValidUTF8(text, "?"))}, nil
	}))
}

//export backworksGoReconfigure
func backworksGoReconfigure(handle C.uintptr_t, config C.backworks_go_bytes) C.backworks_go_answer {
	_, failure := guard(func() (*Response, error) {
		if plugin, ok := find(handle).plugin.(Reconfigurer); ok {
			return nil, plugin.Reconfigure(bytesOf(config))
		}
		return nil, Errorf(Unimplemented, "this plugin accepts a new configuration only on reload")
	})
	return give(nil, failure)
}

//export backworksGoShutdown
func backworksGoShutdown(handle C.uintptr_t) C.int32_t {
	ended := find(handle)
	_, failure := guard(func() (*Response, error) {
		if plugin, ok := ended.plugin.(Shutdowner); ok {
			return nil, plugin.Shutdown()
		}
		return nil, nil
	})
	cgo.Handle(handle).Delete()
	code := C.int32_t(0)
	if failure != nil {
		// There is no way to return a message.
		ended.host.Log(Fault, "shutdown: %s", failure.Message)
		code = C.int32_t(failure.Code)
	}
	ended.host.detach()
	ended = nil
	// Collect the instance's memory now: in an otherwise idle process, the next collection could be far off.
	runtime.GC()
	return code
}

func find(handle C.uintptr_t) *instance {
	return cgo.Handle(handle).Value().(*instance)
}

// guard is the barrier: "No function may ... let a panic cross the boundary". It also calls Error, because that is a
// method of the plugin.
func guard(body func() (*Response, error)) (response *Response, failure *Error) {
	defer func() {
		if reason := recover(); reason != nil {
			response, failure = nil, panicked(reason)
		}
	}()
	response, err := body()
	if err != nil {
		failure = asError(err)
	}
	return response, failure
}

// panicked converts a panic into an error. The panic's value may have a method that panics again.
func panicked(reason any) (failure *Error) {
	defer func() {
		if recover() != nil {
			failure = &Error{Internal, "panicked", 0}
		}
	}()
	return &Error{Internal, "panicked: " + fmt.Sprint(reason), 0}
}

// bytesOf copies bytes that are "borrowed for the call".
func bytesOf(borrowed C.backworks_go_bytes) []byte {
	if borrowed.data == nil || borrowed.size == 0 {
		return nil
	}
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(borrowed.data)), int(borrowed.size))...)
}

// give copies the data, the media type and the header fields into one C allocation, for backworks_plugin_free_string.
func give(response *Response, failure *Error) C.backworks_go_answer {
	code := Code(0)
	if failure != nil {
		code = failure.Code
		response = &Response{Data: []byte(strings.ToValidUTF8(failure.Message, "?")), Status: failure.Status}
	}
	if response == nil {
		return C.backworks_go_answer{}
	}
	contentType, headers := response.ContentType, response.headers
	size := len(response.Data) + len(contentType) + len(headers)
	data := C.malloc(C.size_t(size + 1)) // never nil: cgo's malloc ends the process when memory runs out
	memory := unsafe.Slice((*byte)(data), size)
	copy(memory, response.Data)
	copy(memory[len(response.Data):], contentType)
	copy(memory[len(response.Data)+len(contentType):], headers)
	return C.backworks_go_answer{
		code:              C.int32_t(code),
		http_status:       C.uint32_t(response.Status),
		data:              (*C.char)(data),
		size:              C.size_t(len(response.Data)),
		content_type_size: C.size_t(len(contentType)),
		headers_size:      C.size_t(len(headers)),
	}
}
