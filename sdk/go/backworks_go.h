/* SPDX-License-Identifier: MIT
 *
 * Says who a plugin in Go is, in the preamble of its main package, as BACKWORKS_PLUGIN of backworks_plugin.h does:
 *
 *   // #include "sdk/backworks_go.h"
 *   // BACKWORKS_GO_PLUGIN("echo", "1.0.0", "description": "Answers what it was sent")
 *   import "C"
 *
 * It adds "isolation": ["process"] to the manifest: a process holds one Go runtime, which is never unloaded and does
 * not survive fork(), so that a host, which may be a Go program or hold another plugin in Go, cannot take it in. */
#ifndef BACKWORKS_GO_H
#define BACKWORKS_GO_H

#include "backworks_plugin.h"

#define BACKWORKS_GO_PLUGIN(name, version, ...)                                                     \
  BACKWORKS_PLUGIN_IDENTITY(name, version)                                                          \
  BACKWORKS_PLUGIN_MANIFEST("{\"abi\": 1, \"name\": \"" name "\", \"version\": \"" version          \
                            "\", \"isolation\": [\"process\"], " #__VA_ARGS__ "}")

#endif
