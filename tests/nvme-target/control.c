/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: a command a line, an answer a line, "ok ..." or "error ...".
 */
#include "target.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/cutils.h"

#define MAX_LINE 1024

static int listener = -1;
static struct {
    int fd;
    unsigned used;
    char line[MAX_LINE];
} clients[CONTROL_FDS - 1];

bool control_init(Target *t)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(clients); i++) {
        clients[i].fd = -1;
    }
    if (!t->control_path) {
        return true;
    }
    if (strlen(t->control_path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    pstrcpy(address.sun_path, sizeof(address.sun_path), t->control_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return listener >= 0 &&
           bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
           listen(listener, 8) == 0;
}

unsigned control_fds(Target *t, struct pollfd *fds)
{
    unsigned i, n = 0;
    bool room = false;

    if (listener < 0) {
        return 0;
    }
    for (i = 0; i < ARRAY_SIZE(clients); i++) {
        if (clients[i].fd >= 0) {
            fds[n++] = (struct pollfd) { .fd = clients[i].fd, .events = POLLIN };
        } else {
            room = true;
        }
    }
    if (room) {
        fds[n++] = (struct pollfd) { .fd = listener, .events = POLLIN };
    }
    return n;
}

static bool parse_number(const char *text, uint64_t *value)
{
    return text && qemu_strtou64(text, NULL, 0, value) == 0;
}

/* Of a namespace: resize NSID BYTES, remove NSID, notice NSID */
static char *change_namespace(Target *t, char **words)
{
    uint64_t nsid, bytes = 0;
    char *error;

    if (!parse_number(words[1], &nsid) || nsid > UINT32_MAX ||
        !namespace_get(t, nsid)) {
        return g_strdup("no such namespace");
    }
    if (!strcmp(words[0], "resize")) {
        if (!parse_number(words[2], &bytes)) {
            return g_strdup("resize takes NSID BYTES");
        }
        error = namespace_resize(t, nsid, bytes);
        if (error) {
            return error;
        }
    } else if (!strcmp(words[0], "remove")) {
        t->ns[nsid - 1].present = false;
    }
    event_namespace_changed(t, nsid);
    return NULL;
}

static char *set_limit(Target *t, char **words)
{
    uint64_t n;

    if (g_strcmp0(words[1], "dma") || !parse_number(words[2], &n) ||
        n > TARGET_MAX_REGIONS) {
        return g_strdup_printf("set-limit takes dma and a number up to %u",
                               TARGET_MAX_REGIONS);
    }
    t->max_regions = n;
    return NULL;
}

static char *set_smart(Target *t, char **words)
{
    uint64_t value;

    if (!words[1] || !parse_number(words[2], &value) ||
        !smart_set(t, words[1], value)) {
        return g_strdup("smart takes FIELD VALUE; the fields are in README.md");
    }
    return NULL;
}

static char *set_ignore_abort(Target *t, char **words)
{
    if (g_strcmp0(words[1], "on") && g_strcmp0(words[1], "off")) {
        return g_strdup("ignore-abort takes on or off");
    }
    t->ignore_abort = !strcmp(words[1], "on");
    return NULL;
}

static char *set_fail_reset(Target *t, char **words)
{
    uint64_t n;

    if (!parse_number(words[1], &n) || n > UINT_MAX) {
        return g_strdup("fail-reset takes a number");
    }
    t->fail_reset = n;
    return NULL;
}

/* Returns an error, or NULL with @out as the answer. */
static char *execute(Target *t, char **words, GString *out)
{
    const char *command = words[0] ?: "";
    uint64_t n = UINT_MAX;

    if (!strcmp(command, "fault")) {
        return fault_add(t, words + 1);
    } else if (!strcmp(command, "clear")) {
        t->n_faults = 0;
    } else if (!strcmp(command, "release")) {
        if (words[1] && !parse_number(words[1], &n)) {
            return g_strdup("release takes a number, or nothing for all");
        }
        g_string_append_printf(out, "%u", pending_release(t, MIN(n, UINT_MAX)));
    } else if (!strcmp(command, "cfs")) {
        controller_fail(t);
    } else if (!strcmp(command, "gone") || !strcmp(command, "back")) {
        controller_set_gone(t, !strcmp(command, "gone"));
    } else if (!strcmp(command, "die")) {
        _exit(3);
    } else if (!strcmp(command, "truncate-bar")) {
        return device_truncate_bar(t) ? NULL : g_strdup(strerror(errno));
    } else if (!strcmp(command, "ignore-abort")) {
        return set_ignore_abort(t, words);
    } else if (!strcmp(command, "fail-reset")) {
        return set_fail_reset(t, words);
    } else if (!strcmp(command, "reset-count")) {
        g_string_append_printf(out, "%" PRIu64, t->resets);
    } else if (!strcmp(command, "stats")) {
        stats_print(t, out);
    } else if (!strcmp(command, "resize") || !strcmp(command, "remove") ||
               !strcmp(command, "notice")) {
        return change_namespace(t, words);
    } else if (!strcmp(command, "set-limit")) {
        return set_limit(t, words);
    } else if (!strcmp(command, "smart")) {
        return set_smart(t, words);
    } else {
        return g_strdup_printf("no command '%s'", command);
    }
    return NULL;
}

static void answer(Target *t, int fd, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    g_autoptr(GString) out = g_string_new("ok ");
    g_autofree char *error = execute(t, words, out);

    if (error) {
        g_string_printf(out, "error %s", error);
    }
    g_strchomp(out->str);
    out->len = strlen(out->str);
    g_string_append_c(out, '\n');
    /* who does not read what it asked for gets no answer */
    if (send(fd, out->str, out->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        shutdown(fd, SHUT_RDWR);
    }
}

static void read_client(Target *t, unsigned i)
{
    char *line = clients[i].line, *end;
    ssize_t n = recv(clients[i].fd, line + clients[i].used,
                     MAX_LINE - clients[i].used, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        clients[i].used += n;
        while ((end = memchr(line, '\n', clients[i].used))) {
            *end = 0;
            answer(t, clients[i].fd, line);
            clients[i].used -= end + 1 - line;
            memmove(line, end + 1, clients[i].used);
        }
    }
    if (n <= 0 || clients[i].used == MAX_LINE) {
        close(clients[i].fd);
        clients[i].fd = -1;
    }
}

static void accept_client(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(clients) && fd >= 0; i++) {
        if (clients[i].fd < 0) {
            clients[i].fd = fd;
            clients[i].used = 0;
            return;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

void control_serve(Target *t, const struct pollfd *fds, unsigned n)
{
    unsigned i, c;

    for (i = 0; i < n; i++) {
        if (!fds[i].revents) {
            continue;
        }
        if (fds[i].fd == listener) {
            accept_client();
            continue;
        }
        for (c = 0; c < ARRAY_SIZE(clients); c++) {
            if (clients[c].fd == fds[i].fd) {
                read_client(t, c);
                break;
            }
        }
    }
    events_flush(t);
    queues_interrupt(t);
}
