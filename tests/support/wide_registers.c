/* Lets user-mode Linux run on processors whose register file is larger than it knows: preload it.
   Linux takes back an extended register set only as a whole (ptrace(2), PTRACE_SETREGSET with
   NT_X86_XSTATE), and user-mode Linux 6.1 keeps the first 2,696 bytes of it; processors with AMX
   have 11,008. The rest is filled in from the process as it stands. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { REGISTERS_MAX = 65536 };
static __thread char registers[REGISTERS_MAX];

long ptrace(enum __ptrace_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        long word; /* the C library gives the word back; the kernel stores it */
        long result = syscall(SYS_ptrace, request, pid, address, &word);
        return result < 0 ? result : word;
    }
    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
        struct iovec *given = data, all = {registers, sizeof registers};
        if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, address, &all) == 0 &&
            given->iov_len < all.iov_len) {
            memcpy(registers, given->iov_base, given->iov_len);
            return syscall(SYS_ptrace, request, pid, address, &all);
        }
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
