/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests that execute 32- and 16-bit code by the CPU that runs them: whether that can be had. A
 * Linux that is itself a paravirtual guest may have no segments for such code, though the CPU's
 * descriptor tables seem to have them; a far jump to them then stops the kernel. So nothing is
 * tried in this process: a 32-bit program is started, which such a kernel refuses. */
#pragma once

#define _GNU_SOURCE /* memfd_create() */
#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NATIVE_32_STATUS = 32 }; /* what the program ends with */

/* The program: one page with ELF's headers and exit(NATIVE_32_STATUS). */
static int native_32_file(void)
{
    enum { AT = 0x08048000 };
    static const uint8_t code[] = {0xb8, 1, 0, 0, 0, 0xbb, NATIVE_32_STATUS, 0, 0, 0, 0xcd, 0x80};
    struct {
        Elf32_Ehdr header;
        Elf32_Phdr segment;
        uint8_t code[sizeof(code)];
    } file = {.header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
                         .e_type = ET_EXEC,
                         .e_machine = EM_386,
                         .e_version = EV_CURRENT,
                         .e_entry = AT + sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr),
                         .e_phoff = sizeof(Elf32_Ehdr),
                         .e_ehsize = sizeof(Elf32_Ehdr),
                         .e_phentsize = sizeof(Elf32_Phdr),
                         .e_phnum = 1},
              .segment = {.p_type = PT_LOAD,
                          .p_vaddr = AT,
                          .p_filesz = sizeof(file),
                          .p_memsz = sizeof(file),
                          .p_flags = PF_R | PF_X,
                          .p_align = 4096}};
    memcpy(file.code, code, sizeof(code));
    const int fd = memfd_create("32-bit program", 0);
    if (fd < 0 || write(fd, &file, sizeof(file)) != sizeof(file))
        return -1;
    return fd;
}

/* Whether 32- and 16-bit code can be executed here. The first to ask is told on the screen what is
 * not compared, if it cannot. */
static bool native_has_32(void)
{
    static bool asked, has;
    if (asked)
        return has;
    asked = true;
    char *const arguments[] = {(char[]){"32-bit"}, NULL}, *const environment[] = {NULL};
    int status = -1;
    const int fd = native_32_file();
    const pid_t child = fd < 0 ? -1 : fork();
    if (child == 0) {
        fexecve(fd, arguments, environment);
        _exit(1);
    }
    if (child > 0)
        waitpid(child, &status, 0);
    if (fd >= 0)
        close(fd);
    has = WIFEXITED(status) && WEXITSTATUS(status) == NATIVE_32_STATUS;
    if (!has)
        fprintf(stderr, "this machine's kernel starts no 32-bit program: 32- and 16-bit code is "
                        "not compared with the CPU\n");
    return has;
}
