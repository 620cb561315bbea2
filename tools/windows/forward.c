/* SPDX-License-Identifier: MIT
 *
 * A Windows program that has a Unix one of the same name run, and passes its output and exit code on. Wine starts Unix
 * programs, but neither waits for them nor gives them its pipes: so forward.py, on the other side, runs it and connects
 * to a port of this program, where it writes
 *
 *   uint32_t exit code, uint32_t size of the output; the output; what went to the standard error
 *
 * FORWARD is where Wine finds forward.py. */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define LINE 32768  /* characters that a command line has at most */
#define PATIENCE 60 /* seconds until forward.py has connected */
#define BROKEN 125

static wchar_t line[LINE];

static int
fail(const char *text)
{
  DWORD written;

  (void)WriteFile(GetStdHandle(STD_ERROR_HANDLE), text, (DWORD)strlen(text), &written, NULL);
  return BROKEN;
}

/* The arguments as they were written, behind the name of the program. */
static const wchar_t *
arguments(void)
{
  const wchar_t *text = GetCommandLineW();
  bool quoted = false;

  for (; *text != 0 && (quoted || (*text != ' ' && *text != '\t')); text++) {
    quoted ^= *text == '"';
  }
  return text;
}

static void
pass(DWORD where, const char *data, size_t size)
{
  DWORD written;

  for (; size > 0 && WriteFile(GetStdHandle(where), data, (DWORD)size, &written, NULL); size -= written) {
    data += written;
  }
}

int
main(void)
{
  STARTUPINFOW start = { .cb = sizeof start };
  PROCESS_INFORMATION process;
  WSADATA winsock;
  struct sockaddr_in address = { .sin_family = AF_INET };
  struct timeval patience = { .tv_sec = PATIENCE };
  int address_size = sizeof address, got = 0;
  wchar_t self[MAX_PATH], *name, *end;
  char *answer = NULL, *larger;
  size_t size = 0, room = 0;
  uint32_t code, output;
  SOCKET listening, connected;
  fd_set ready;

  if (GetModuleFileNameW(NULL, self, MAX_PATH) == 0 || (name = wcsrchr(self, '\\')) == NULL) {
    return fail("forward: no name\n");
  }
  name++;
  if ((end = wcsrchr(name, '.')) != NULL) {
    *end = 0;
  }
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (WSAStartup(MAKEWORD(2, 2), &winsock) != 0 ||
      (listening = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)) == INVALID_SOCKET ||
      bind(listening, (struct sockaddr *)&address, sizeof address) != 0 || listen(listening, 1) != 0 ||
      getsockname(listening, (struct sockaddr *)&address, &address_size) != 0) {
    return fail("forward: no port\n");
  }
  if (swprintf(line, LINE, L"\"%ls\" %u \"%ls\"%ls", FORWARD, ntohs(address.sin_port), name, arguments()) < 0) {
    return fail("forward: the command is too long\n");
  }
  if (!CreateProcessW(FORWARD, line, NULL, NULL, FALSE, 0, NULL, NULL, &start, &process)) {
    return fail("forward: Wine does not start the Unix program\n");
  }
  FD_ZERO(&ready);
  FD_SET(listening, &ready);
  if (select(0, &ready, NULL, NULL, &patience) != 1 ||
      (connected = accept(listening, NULL, NULL)) == INVALID_SOCKET) {
    return fail("forward: the Unix program does not connect\n");
  }
  do {
    size += (size_t)got;
    if (size == room) {
      room = room * 2 + 4096;
      if ((larger = realloc(answer, room)) == NULL) {
        return fail("forward: no memory\n");
      }
      answer = larger;
    }
    got = recv(connected, answer + size, (int)(room - size), 0);
  } while (got > 0);
  if (size < 2 * sizeof code) {
    return fail("forward: the Unix program said nothing\n");
  }
  memcpy(&code, answer, sizeof code);
  memcpy(&output, answer + sizeof code, sizeof output);
  answer += 2 * sizeof code;
  size -= 2 * sizeof code;
  if (output > size) {
    return fail("forward: the answer of the Unix program is not whole\n");
  }
  pass(STD_OUTPUT_HANDLE, answer, output);
  pass(STD_ERROR_HANDLE, answer + output, size - output);
  return (int)code;
}
