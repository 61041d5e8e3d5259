/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest protocol, client side, see qtest.h.
 */
#include "qtest.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* All under the lock. */
static struct {
    pthread_mutex_t lock;
    int fd;
    int timeout_ms;
    uint64_t owed;              /* answers to posted commands, still to come */
    char line[256];             /* what came of the answer that is not whole */
    size_t length;
} qtest = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

void qtest_open(const char *path, double timeout)
{
    qtest.fd = connect_unix(path);
    qtest.timeout_ms = timeout * 1000;
}

int qtest_pid(void)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(qtest.fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) {
        die("the qtest socket: %s", strerror(errno));
    }
    return peer.pid;
}

void qtest_close(void)
{
    close(qtest.fd);
}

/*
 * Blocks where QEMU takes nothing; it never waits for us in turn, as answers
 * are taken before each command, and few are owed in between.
 */
static bool send_line(const char *line, size_t length)
{
    while (length) {
        ssize_t n = send(qtest.fd, line, length, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        line += n;
        length -= n;
    }
    return true;
}

/*
 * Appends what the socket has to the line. 1: something came; 0: nothing is
 * there; -1: QEMU has gone.
 */
static int receive_some(void)
{
    ssize_t n;

    if (qtest.length == sizeof(qtest.line) - 1) {
        return -1;      /* no line of the protocol is so long */
    }
    n = recv(qtest.fd, qtest.line + qtest.length,
             sizeof(qtest.line) - 1 - qtest.length, MSG_DONTWAIT);
    if (n > 0) {
        qtest.length += n;
        return 1;
    }
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK ||
                     errno == EINTR) ? 0 : -1;
}

/* Takes a whole line into @line, if there is one; without its end. */
static bool take_line(char *line)
{
    char *end = memchr(qtest.line, '\n', qtest.length);
    size_t length;

    if (!end) {
        return false;
    }
    length = end - qtest.line;
    memcpy(line, qtest.line, length);
    line[length] = 0;
    qtest.length -= length + 1;
    memmove(qtest.line, end + 1, qtest.length);
    return true;
}

/* Answers that are owed and there. False where QEMU has gone. */
static bool take_owed(void)
{
    char line[sizeof(qtest.line)];
    int ret;

    do {
        while (qtest.owed && take_line(line)) {
            if (!strncmp(line, "OK", 2)) {
                qtest.owed--;
            }
        }
        ret = qtest.owed ? receive_some() : 0;
    } while (ret > 0);
    return ret == 0;
}

/* The next line, which is an answer: of lines IRQ ... nobody is told. */
static void wait_line(char *line, const char *command)
{
    do {
        while (!take_line(line)) {
            struct pollfd pfd = { .fd = qtest.fd, .events = POLLIN };
            int ret = poll(&pfd, 1, qtest.timeout_ms);

            if (ret == 0) {
                die("QEMU does not answer on its qtest socket (%s)", command);
            }
            if (ret > 0 && receive_some() < 0) {
                die("QEMU closed the qtest connection (at %s)", command);
            }
        }
    } while (!strncmp(line, "IRQ", 3));
}

/* Sends a command and waits for its answer; the value after OK, or 0. */
static uint64_t __attribute__((format(printf, 1, 2)))
command_wait(const char *fmt, ...)
{
    char text[128], line[sizeof(qtest.line)];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text) - 1, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&qtest.lock);
    text[n] = '\n';
    if (!send_line(text, n + 1)) {
        die("QEMU closed the qtest connection");
    }
    text[n] = 0;
    for (; qtest.owed; qtest.owed--) {
        wait_line(line, text);
    }
    wait_line(line, text);
    pthread_mutex_unlock(&qtest.lock);
    if (strncmp(line, "OK", 2)) {
        die("QEMU answers '%s' to '%s'", line, text);
    }
    return line[2] ? strtoull(line + 3, NULL, 0) : 0;
}

/* The protocol's letter for a width. */
static char letter(unsigned size)
{
    return size == 1 ? 'b' : size == 2 ? 'w' : size == 4 ? 'l' : 'q';
}

void qtest_out(unsigned size, uint16_t port, uint32_t value)
{
    command_wait("out%c 0x%x 0x%x", letter(size), port, value);
}

uint32_t qtest_in(unsigned size, uint16_t port)
{
    return command_wait("in%c 0x%x", letter(size), port);
}

void qtest_write(unsigned size, uint64_t address, uint64_t value)
{
    command_wait("write%c 0x%" PRIx64 " 0x%" PRIx64, letter(size), address,
                 value);
}

uint64_t qtest_read(unsigned size, uint64_t address)
{
    return command_wait("read%c 0x%" PRIx64, letter(size), address);
}

bool qtest_post_write(uint64_t address, uint16_t value)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "writew 0x%" PRIx64 " 0x%x\n",
                     address, value);
    bool good;

    pthread_mutex_lock(&qtest.lock);
    good = take_owed() && send_line(text, n);
    qtest.owed += good;
    pthread_mutex_unlock(&qtest.lock);
    return good;
}

bool qtest_watch(int timeout_ms)
{
    struct pollfd pfd = { .fd = qtest.fd, .events = POLLRDHUP };
    bool good;

    if (poll(&pfd, 1, timeout_ms) > 0) {
        return false;
    }
    pthread_mutex_lock(&qtest.lock);
    good = take_owed();
    pthread_mutex_unlock(&qtest.lock);
    return good;
}
