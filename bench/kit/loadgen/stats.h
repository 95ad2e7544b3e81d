// Percentiles: exact over bounded arrays of requests, by histogram (0.4 % wide buckets) over gaps, of which there may be billions.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SUB_BUCKETS 256u
#define BUCKETS (40u * SUB_BUCKETS)  // microseconds up to 2^40: twelve days

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

typedef struct {
    uint64_t count[BUCKETS];
    uint64_t total, sum_ns, max_ns;
} Histogram;

// Below SUB_BUCKETS * 16 ns a bucket is 16 ns wide; above, each power of two is cut into SUB_BUCKETS.
static inline unsigned bucket_of(uint64_t ns) {
    uint64_t v = ns >> 4;
    if (v < SUB_BUCKETS) return (unsigned)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - 8u;
    unsigned index = (shift + 1) * SUB_BUCKETS + (unsigned)((v >> shift) - SUB_BUCKETS);
    return index < BUCKETS ? index : BUCKETS - 1;
}

static inline double bucket_ms(unsigned index) {
    if (index < SUB_BUCKETS) return (index + 0.5) * 16e-6;
    unsigned shift = index / SUB_BUCKETS - 1;
    return ((double)(index % SUB_BUCKETS + SUB_BUCKETS) + 0.5) * (double)(1ull << shift) * 16e-6;
}

static inline void histogram_add(Histogram *h, uint64_t ns) {
    h->count[bucket_of(ns)]++;
    h->total++;
    h->sum_ns += ns;
    if (ns > h->max_ns) h->max_ns = ns;
}

static inline double histogram_ms(const Histogram *h, double q) {
    uint64_t rank = (uint64_t)ceil(q * (double)h->total), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += h->count[i];
        if (seen >= rank && seen > 0) return bucket_ms(i);
    }
    return 0;
}

static inline void histogram_json(FILE *out, const char *name, const Histogram *h) {
    if (!h->total) {
        fprintf(out, "\"%s\": null", name);
        return;
    }
    fprintf(out, "\"%s\": {\"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"mean\": %.4f, \"max\": %.4f, \"count\": %llu}", name,
            histogram_ms(h, 0.50), histogram_ms(h, 0.90), histogram_ms(h, 0.99), (double)h->sum_ns / (double)h->total * 1e-6,
            (double)h->max_ns * 1e-6, (unsigned long long)h->total);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Nearest rank: the smallest value with at least q of all values at or below it. Sorts in place.
static inline void exact_json(FILE *out, const char *name, double *ms, size_t n) {
    if (!n) {
        fprintf(out, "\"%s\": null", name);
        return;
    }
    qsort(ms, n, sizeof *ms, compare_doubles);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += ms[i];
    double q[3] = {0.50, 0.90, 0.99}, value[3];
    for (int i = 0; i < 3; i++) value[i] = ms[(size_t)ceil(q[i] * (double)n) - 1];
    fprintf(out, "\"%s\": {\"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"mean\": %.4f, \"max\": %.4f, \"count\": %zu}", name, value[0],
            value[1], value[2], sum / (double)n, ms[n - 1], n);
}
