/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest protocol of QEMU, client side: lines of text over a socket, one
 * answer a command, in order (QEMU's documentation, "QTest Protocol"). The same
 * lock serves all threads: commands are whole lines, answers are counted.
 */
#ifndef RINGLOAD_QTEST_H
#define RINGLOAD_QTEST_H

#include "util.h"

/* Connects; @timeout seconds without an answer are fatal. */
void qtest_open(const char *path, double timeout);
void qtest_close(void);

/* QEMU's process. */
int qtest_pid(void);

/* Each sends one command and waits for its answer; dies on failure. */
void qtest_out(unsigned size, uint16_t port, uint32_t value);
uint32_t qtest_in(unsigned size, uint16_t port);
void qtest_write(unsigned size, uint64_t address, uint64_t value);
uint64_t qtest_read(unsigned size, uint64_t address);

/*
 * Sends a write of 16 bits and leaves the answer for later. Any thread. False
 * where QEMU has gone.
 */
bool qtest_post_write(uint64_t address, uint16_t value);

/* Waits up to @timeout_ms for QEMU's end; takes answers. False: it has gone. */
bool qtest_watch(int timeout_ms);

#endif
