/* SPDX-License-Identifier: MIT
 *
 * Identifies a Go plugin, in the cgo preamble of its main package, like BACKWORKS_PLUGIN of backworks_plugin.h:
 *
 *   // #include "sdk/backworks_go.h"
 *   // BACKWORKS_GO_PLUGIN("echo", "1.0.0", "description": "Returns what it receives")
 *   import "C"
 *
 * It adds "isolation": ["process"] to the manifest: a process can hold only one Go runtime, which is never unloaded and
 * does not survive fork(), and the host may be a Go program or have loaded another Go plugin. */
#ifndef BACKWORKS_GO_H
#define BACKWORKS_GO_H

#include "backworks_plugin.h"

#define BACKWORKS_GO_PLUGIN(name, version, ...)                                                     \
  BACKWORKS_PLUGIN_IDENTITY(name, version)                                                          \
  BACKWORKS_PLUGIN_MANIFEST("{\"abi\": 1, \"name\": \"" name "\", \"version\": \"" version          \
                            "\", \"isolation\": [\"process\"], " #__VA_ARGS__ "}")

#endif
