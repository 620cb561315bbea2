/* SPDX-License-Identifier: MIT
 *
 * The one function of bcryptprimitives.dll that what is written in Rust asks for. Wine has the DLL since version 8.21;
 * an older Wine loads none of it, pydantic first, without this. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

/* advapi32 exports RtlGenRandom under this name. */
BOOLEAN NTAPI SystemFunction036(void *buffer, ULONG size);

__declspec(dllexport) BOOL WINAPI
ProcessPrng(unsigned char *buffer, size_t size)
{
  while (size > 0) {
    ULONG some = size < 0x10000 ? (ULONG)size : 0x10000;

    if (!SystemFunction036(buffer, some)) {
      return FALSE;
    }
    buffer += some;
    size -= some;
  }
  return TRUE;
}
