/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that another process can take away.  What it shares is a file, which it
 * can make shorter: who then touches what was behind the end gets SIGBUS, and the
 * process is not to end for it.
 */

#ifndef QEMU_TRUNCATED_MEMORY_H
#define QEMU_TRUNCATED_MEMORY_H

typedef struct TruncatedMemory TruncatedMemory;

/* Main loop; adds and removes none.  Again for each time that it is found short. */
typedef void TruncatedMemoryFunc(void *opaque);

/*
 * [@start, @start + @length), mapped in pages of @page bytes.  What is missing of it
 * is zeroes to who touches it, and nobody else's then; soon after, @found is called.
 * Context: main loop
 */
TruncatedMemory *truncated_memory_add(void *start, size_t length, size_t page,
                                      TruncatedMemoryFunc *found, void *opaque);

/* Before it is unmapped.  @found is not called any more.  Any thread */
void truncated_memory_remove(TruncatedMemory *memory);

/* Calls who is to be told now.  Context: main loop */
void truncated_memory_look(void);

#endif /* QEMU_TRUNCATED_MEMORY_H */
