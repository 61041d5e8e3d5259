/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table and the JSON of results, see report.h.
 */
#include "report.h"
#include "options.h"
#include "queue.h"
#include "transport.h"
#include "tsc.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char report_help[] =
"Keys of the JSON: transport, device, features (hexadecimal), queues, depth,\n"
"block_size, ring_size, indirect, event_idx, rw, read_percent, completion,\n"
"kick, think_us, verify, seed, exit_status; per_queue (a list) and total, each\n"
"with requests, reads, writes, flushes (while measuring), seconds, iops,\n"
"mb_per_s (10^6 bytes), mean_us, p50_us, p99_us, p999_us, max_us (latency, from\n"
"before publishing to having seen the used element), kicks_per_request,\n"
"interrupts_per_request (signals of the call eventfd; none with --qtest),\n"
"kicks, interrupts; per_queue also has queue, its number. The total's seconds\n"
"are those from the first queue's begin to the last one's end. Quantiles are\n"
"right within 0.8 %.\n";

/* One line of the table, one object of the JSON. */
struct row {
    struct queue_stats stats;
    double seconds;
    double iops;
    double mb_per_s;
    const struct histogram *latency;
};

static uint64_t row_requests(const struct row *row)
{
    return row->stats.reads + row->stats.writes + row->stats.flushes;
}

static void row_set_rates(struct row *row, unsigned block_size)
{
    row->seconds = tsc_to_us(row->stats.ticks) / 1e6;
    if (row->seconds > 0) {
        row->iops = row_requests(row) / row->seconds;
        row->mb_per_s = (double)(row->stats.reads + row->stats.writes) *
                        block_size / row->seconds / 1e6;
    }
}

static void row_of_queue(struct row *row, const struct queue *q)
{
    memset(row, 0, sizeof(*row));
    row->stats = q->result;
    row->latency = &q->latency;
    row_set_rates(row, q->block_size);
}

/*
 * The sum, over the time from the first queue's begin to the last one's end: a
 * sum of rates would be wrong where queues did not run at the same time.
 */
static void stats_add(struct queue_stats *total, const struct queue_stats *s)
{
    uint64_t end = total->begin + total->ticks;

    total->reads += s->reads;
    total->writes += s->writes;
    total->flushes += s->flushes;
    total->kicks += s->kicks;
    total->interrupts += s->interrupts;
    if (!s->ticks) {
        return;     /* not measured */
    }
    if (!total->ticks || s->begin < total->begin) {
        total->begin = s->begin;
    }
    if (end < s->begin + s->ticks) {
        end = s->begin + s->ticks;
    }
    total->ticks = end - total->begin;
}

static struct row row_of_all(const struct options *o,
                             struct queue *const *queues,
                             struct histogram *latency)
{
    struct row total = { .latency = latency };
    unsigned i;

    histogram_reset(latency);
    for (i = 0; i < o->queues; i++) {
        stats_add(&total.stats, &queues[i]->result);
        histogram_merge(latency, &queues[i]->latency);
    }
    row_set_rates(&total, o->block_size);
    return total;
}

static double per_request(const struct row *row, uint64_t n)
{
    uint64_t requests = row_requests(row);

    return requests ? (double)n / requests : 0;
}

static double quantile_us(const struct row *row, double fraction)
{
    return tsc_to_us(histogram_quantile(row->latency, fraction));
}

static void print_row(const char *name, const struct row *row)
{
    printf("%-6s %10.0f %9.1f %9.2f %9.2f %9.2f %9.2f %10.2f %7.4f %7.4f\n",
           name, row->iops, row->mb_per_s,
           tsc_to_us(histogram_mean(row->latency)), quantile_us(row, 0.5),
           quantile_us(row, 0.99), quantile_us(row, 0.999),
           tsc_to_us(row->latency->max),
           per_request(row, row->stats.kicks),
           per_request(row, row->stats.interrupts));
}

static const char *rw_name(const struct options *o)
{
    if (o->read_percent != 0 && o->read_percent != 100) {
        return "mix";
    }
    if (o->random) {
        return o->read_percent ? "randread" : "randwrite";
    }
    return o->read_percent ? "read" : "write";
}

void report_table(const struct options *o, const struct device *dev,
                  struct queue *const *queues)
{
    struct histogram latency;
    struct row row;
    unsigned i;

    printf("%s\n%u queue%s, depth %u, %u bytes, %s, ring of %u%s%s, %s\n",
           dev->description, o->queues, o->queues > 1 ? "s" : "", o->depth,
           o->block_size, rw_name(o), queues[0]->ring_size,
           queues[0]->indirect ? ", indirect" : "",
           queues[0]->ring.event_idx ? ", event index" : "",
           o->sleep ? "sleeping" : "polling");
    printf("%-6s %10s %9s %9s %9s %9s %9s %10s %7s %7s\n", "queue", "IOPS",
           "MB/s", "mean us", "p50", "p99", "p99.9", "max", "kick/r",
           "intr/r");
    for (i = 0; i < o->queues; i++) {
        char name[16];

        snprintf(name, sizeof(name), "%u", i);
        row_of_queue(&row, queues[i]);
        print_row(name, &row);
    }
    row = row_of_all(o, queues, &latency);
    print_row("total", &row);
}

/* A string of JSON; what is not printable ASCII in it is escaped. */
static void json_string(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++) {
        unsigned char c = *text;

        if (c == '"' || c == '\\') {
            fprintf(f, "\\%c", c);
        } else if (c < 0x20 || c > 0x7e) {
            fprintf(f, "\\u%04x", c);
        } else {
            fputc(c, f);
        }
    }
    fputc('"', f);
}

static void json_row(FILE *f, const struct row *row)
{
    fprintf(f, "\"requests\": %" PRIu64 ", \"reads\": %" PRIu64
            ", \"writes\": %" PRIu64 ", \"flushes\": %" PRIu64,
            row_requests(row), row->stats.reads, row->stats.writes,
            row->stats.flushes);
    fprintf(f, ", \"seconds\": %.6f, \"iops\": %.1f, \"mb_per_s\": %.3f",
            row->seconds, row->iops, row->mb_per_s);
    fprintf(f, ", \"mean_us\": %.3f, \"p50_us\": %.3f, \"p99_us\": %.3f"
            ", \"p999_us\": %.3f, \"max_us\": %.3f",
            tsc_to_us(histogram_mean(row->latency)), quantile_us(row, 0.5),
            quantile_us(row, 0.99), quantile_us(row, 0.999),
            tsc_to_us(row->latency->max));
    fprintf(f, ", \"kicks_per_request\": %.6f"
            ", \"interrupts_per_request\": %.6f"
            ", \"kicks\": %" PRIu64 ", \"interrupts\": %" PRIu64,
            per_request(row, row->stats.kicks),
            per_request(row, row->stats.interrupts), row->stats.kicks,
            row->stats.interrupts);
}

static const char *json_bool(bool b)
{
    return b ? "true" : "false";
}

static void json_setting(FILE *f, const struct options *o,
                         const struct device *dev, const struct queue *q)
{
    fprintf(f, "  \"transport\": \"%s\",\n  \"device\": ",
            o->transport->name);
    json_string(f, dev->description);
    fprintf(f, ",\n  \"features\": \"0x%" PRIx64 "\",\n", dev->features);
    fprintf(f, "  \"queues\": %u,\n  \"depth\": %u,\n  \"block_size\": %u,\n",
            o->queues, o->depth, o->block_size);
    fprintf(f, "  \"ring_size\": %u,\n  \"indirect\": %s,\n"
            "  \"event_idx\": %s,\n", q->ring_size, json_bool(q->indirect),
            json_bool(q->ring.event_idx));
    fprintf(f, "  \"rw\": \"%s\",\n  \"read_percent\": %u,\n"
            "  \"completion\": \"%s\",\n  \"kick\": \"%s\",\n", rw_name(o),
            o->read_percent, o->sleep ? "eventfd" : "poll",
            o->kick_always ? "always" : "auto");
    fprintf(f, "  \"think_us\": %.0f,\n", o->think_us);
    fprintf(f, "  \"verify\": %s,\n  \"seed\": %" PRIu64 ",\n",
            json_bool(o->verify), o->seed);
}

void report_json(const struct options *o, const struct device *dev,
                 struct queue *const *queues, int exit_status)
{
    bool to_stdout = !strcmp(o->json, "-");
    FILE *f = to_stdout ? stdout : fopen(o->json, "w");
    struct histogram latency;
    struct row row;
    unsigned i;

    if (!f) {
        die("%s: %s", o->json, strerror(errno));
    }
    fprintf(f, "{\n");
    json_setting(f, o, dev, queues[0]);
    fprintf(f, "  \"exit_status\": %d,\n  \"per_queue\": [\n", exit_status);
    for (i = 0; i < o->queues; i++) {
        row_of_queue(&row, queues[i]);
        fprintf(f, "    { \"queue\": %u, ", i);
        json_row(f, &row);
        fprintf(f, " }%s\n", i + 1 < o->queues ? "," : "");
    }
    row = row_of_all(o, queues, &latency);
    fprintf(f, "  ],\n  \"total\": { ");
    json_row(f, &row);
    fprintf(f, " }\n}\n");
    if (fflush(f) || ferror(f) || (!to_stdout && fclose(f))) {
        die("%s: %s", o->json, strerror(errno));
    }
}
