/* SPDX-License-Identifier: MIT
 *
 * backworks-worker: runs one plugin on behalf of a host that the plugin must not damage. PROTOCOL.md describes the
 * protocol between the two.
 *
 *   main.c       the command line, and the preparation of the process for a plugin
 *   serve.c      the handlers of frames
 *   library.c    the plugin's functions and responses
 *   channel.c    the source of frames: pipes or mailbox
 *   pipes.c      frames over the pipes
 *   log.c        the plugin's log records
 *   ../wire/     frames as bytes, and the mailbox: shared with the host
 *   platform_posix.c, watch.c, limits.c, children.c, guard.c, platform_windows.c
 *                the platform's part */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#if defined(__linux__)
#include "posix.h"
#endif
#include "serve.h"

#define BY_HAND \
  "this program holds one plugin for Backworks, which starts it and talks to it over pipes; " \
  "to run a plugin yourself, use `backworks plugin call` or `backworks serve`"

static struct channel channel;

static bool
read_descriptor(const char *text, descriptor *read)
{
  char *end = NULL;
  long long number = strtoll(text, &end, 10);

  if (text[0] < '0' || text[0] > '9' || *end != '\0' || number < 0 || number > INTPTR_MAX) {
    return false;
  }
  *read = (descriptor)number;
  return true;
}

enum option { LOG, MAILBOX, EVENT, GUARD, OPTIONS };

/* Reads `--log N [--mailbox N --event N] [--guard N]`. */
static bool
read_arguments(int count, char **arguments, descriptor *given)
{
  static const char *const names[OPTIONS] = { "--log", "--mailbox", "--event", "--guard" };
  int i, option;

  for (i = 1; i + 1 < count; i += 2) {
    for (option = 0; option < OPTIONS && strcmp(arguments[i], names[option]) != 0; option++) {
    }
    if (option == OPTIONS || !read_descriptor(arguments[i + 1], &given[option])) {
      return false;
    }
  }
  return i == count && given[LOG] != NO_DESCRIPTOR &&
         (given[MAILBOX] == NO_DESCRIPTOR) == (given[EVENT] == NO_DESCRIPTOR);
}

/* Maps the mailbox, if there is one. */
static bool
open_mailbox(const descriptor *given)
{
#if defined(__linux__)
  if (given[MAILBOX] != NO_DESCRIPTOR) {
    bool opened = mailbox_open(&channel.mailbox, (int)given[MAILBOX], posix_keep((int)given[EVENT]));

    (void)close((int)given[MAILBOX]);
    return opened && channel.mailbox.event_fd >= 0;
  }
  return true;
#else
  return given[MAILBOX] == NO_DESCRIPTOR;
#endif
}

/* Puts a guardian between the host and this process, if the host wants one. */
static bool
begin_guard(const descriptor *given)
{
#if defined(__linux__)
  if (given[GUARD] != NO_DESCRIPTOR) {
    posix_guard((int)given[GUARD], given, GUARD);
  } else {
    posix_adopt_orphans();
  }
  return true;
#else
  return given[GUARD] == NO_DESCRIPTOR;
#endif
}

int
main(int count, char **arguments)
{
  descriptor given[OPTIONS] = { NO_DESCRIPTOR, NO_DESCRIPTOR, NO_DESCRIPTOR, NO_DESCRIPTOR };

  if (!read_arguments(count, arguments, given) || platform_has_terminal() || !begin_guard(given)) {
    platform_complain(BY_HAND);
    return END_USAGE;
  }
  /* Line buffering, so that the host logs the plugin's output on stdout even if the plugin crashes. */
  (void)setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
  if (!platform_prepare(&channel.pipes.requests, &channel.pipes.replies, &given[LOG]) ||
      !platform_watch(channel.pipes.requests)) {
    platform_complain("the system does not give this process what it needs: descriptors 0, 1, 2 and a thread");
    return END_SYSTEM;
  }
  if (!open_mailbox(given)) {
    platform_complain("the descriptors after --mailbox and --event are not those of a mailbox");
    platform_end(END_USAGE);
  }
  log_open(given[LOG]);
  serve(&channel);
}
