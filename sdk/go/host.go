// SPDX-License-Identifier: MIT

package backworks

// #include "shim.h"
import "C"

import (
	"fmt"
	"sync"
	"unsafe"
)

// Level is how grave a record of the log is: the numbers of Python's logging module.
type Level uint32

// The levels.
const (
	Debug    Level = 10
	Info     Level = 20
	Warning  Level = 30
	Fault    Level = 40
	Critical Level = 50
)

// Host is the way to the host's log. It may be kept and used by any goroutine, also after the end of its instance: what
// is logged then is dropped. A nil Host drops everything, for tests.
type Host struct {
	lock sync.RWMutex
	raw  *C.backworks_host // "valid from the call of init until that instance's shutdown has returned"
}

// Log writes one record under the plugin's name. It may block for a moment.
func (host *Host) Log(level Level, format string, arguments ...any) {
	if host == nil {
		return
	}
	text := fmt.Sprintf(format, arguments...)
	host.lock.RLock()
	defer host.lock.RUnlock()
	if host.raw != nil {
		// With a byte behind it, because an empty text has no pointer.
		bytes := append([]byte(text), 0)
		C.backworks_go_log(host.raw, C.uint32_t(level), (*C.char)(unsafe.Pointer(&bytes[0])), C.size_t(len(text)))
	}
}

// detach waits for the records that are being written, and lets none begin.
func (host *Host) detach() {
	host.lock.Lock()
	host.raw = nil
	host.lock.Unlock()
}
