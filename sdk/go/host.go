// SPDX-License-Identifier: MIT

package backworks

// #include "shim.h"
import "C"

import (
	"fmt"
	"sync"
	"unsafe"
)

// Level is the severity of a log record: the numbers of Python's logging module.
type Level uint32

// The levels.
const (
	Debug    Level = 10
	Info     Level = 20
	Warning  Level = 30
	Fault    Level = 40
	Critical Level = 50
)

// Host writes to the host's log. Any goroutine may keep and use it. Records logged after the end of the instance are
// discarded. A nil Host discards everything, for tests.
type Host struct {
	lock sync.RWMutex
	raw  *C.backworks_host // "valid from the call to init until that instance's shutdown returns"
}

// Log writes one record under the plugin's name. It may block briefly.
func (host *Host) Log(level Level, format string, arguments ...any) {
	if host == nil {
		return
	}
	text := fmt.Sprintf(format, arguments...)
	host.lock.RLock()
	defer host.lock.RUnlock()
	if host.raw != nil {
		// Append a byte, because an empty slice has no first element to point to.
		bytes := append([]byte(text), 0)
		C.backworks_go_log(host.raw, C.uint32_t(level), (*C.char)(unsafe.Pointer(&bytes[0])), C.size_t(len(text)))
	}
}

// detach waits for records in progress, and discards all later ones.
func (host *Host) detach() {
	host.lock.Lock()
	host.raw = nil
	host.lock.Unlock()
}
