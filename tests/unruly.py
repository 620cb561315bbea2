"""A plugin that does to its process whatever it is told."""

from conftest import ECHO

#: Takes commands as data, such as ``!exit 3``; whatever else comes is echoed.
UNRULY = ECHO.replace(
    "#include <backworks_plugin.h>",
    """
#define _GNU_SOURCE
#include <backworks_plugin.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
""",
).replace(
    "  (void)plugin;\n  return backworks_answer(",
    """
  char command[4096], text[256];
  size_t size = request->data_size < sizeof command - 1 ? request->data_size : sizeof command - 1;
  int number = 0, i;

  (void)plugin;
  memcpy(command, request->data, size);
  command[size] = 0;
  if (strcmp(command, "!crash") == 0) {
    fputs("about to crash\\n", stderr);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
  if (sscanf(command, "!exit %d", &number) == 1) {
    exit(number);
  }
  if (strcmp(command, "!hang") == 0) {
    for (;;) {
      pause();
    }
  }
  if (strcmp(command, "!stop") == 0) {
    raise(SIGSTOP);
  }
  if (strncmp(command, "!wait ", 6) == 0) { /* until somebody has opened that FIFO for writing and closed it again */
    char byte;
    int fifo = open(command + 6, O_RDONLY);
    while (read(fifo, &byte, 1) > 0) {
    }
    close(fifo);
    return backworks_answer(response, "done", 4);
  }
  if (strcmp(command, "!child") == 0 || strcmp(command, "!daemon") == 0) {
    pid_t child = fork();
    if (child == 0) {
      if (command[1] == 'd') {
        setsid();
      }
      for (;;) {
        pause();
      }
    }
    number = snprintf(text, sizeof text, "%d", (int)child);
    return backworks_answer(response, text, (size_t)number);
  }
  if (strcmp(command, "!forkcrash") == 0) { /* the child holds all of the pipes */
    pid_t child = fork();
    if (child == 0) {
      setsid();
      for (;;) {
        pause();
      }
    }
    fprintf(stderr, "%d\\n", (int)child);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
  if (strcmp(command, "!pid") == 0) {
    number = snprintf(text, sizeof text, "%d", (int)getpid());
    return backworks_answer(response, text, (size_t)number);
  }
  if (strncmp(command, "!env ", 5) == 0) {
    const char *value = getenv(command + 5);
    return value == NULL ? BACKWORKS_OK : backworks_answer(response, value, strlen(value));
  }
  if (strcmp(command, "!left") == 0) {
    number = snprintf(text, sizeof text, "%llu", (unsigned long long)request->time_left_ns);
    return backworks_answer(response, text, (size_t)number);
  }
  if (sscanf(command, "!flood %d", &number) == 1) {
    for (i = 0; i < number; i++) {
      fprintf(stderr, "line %d\\n", i);
    }
  }
  if (strncmp(command, "!stderr ", 8) == 0) {
    fputs(command + 8, stderr);
  }
  if (strncmp(command, "!log ", 5) == 0) {
    backworks_log(plugin->host, 30, "%s", command + 5);
  }
  if (strcmp(command, "!garbage") == 0) {
    for (i = 3; i < 1024; i++) {
      if (fcntl(i, F_GETFL) >= 0 && (fcntl(i, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        if (write(i, "this is no frame", 16) != 16) {
          abort();
        }
      }
    }
  }
  if (strcmp(command, "!null") == 0) {
    response->data = NULL;
    response->size = 10;
    return BACKWORKS_OK;
  }
  if (strcmp(command, "!fail") == 0) {
    return backworks_fail(response, BACKWORKS_NOT_FOUND, "no such thing");
  }
  return backworks_answer(""",
)
