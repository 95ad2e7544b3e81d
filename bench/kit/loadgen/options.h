// loadgen's command line and its request bodies (one JSON object a line, cycled).
#pragma once
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONCURRENCY_MAX 16384u
#define BODIES_MAX (1u << 20)
#define EXTRA_HEADERS_BYTES 4096u

typedef struct {
    const char *at;
    size_t n;
} Body;

static struct {
    struct in_addr host;
    uint16_t port;
    const char *path, *bodies_file, *records_file;
    char headers[EXTRA_HEADERS_BYTES];
    uint32_t concurrency;
    uint64_t requests, seed;
    double duration_s, rate, timeout_s;
} options = {.port = 0, .path = "/v1/chat/completions", .concurrency = 1, .seed = 1, .timeout_s = 120};

static Body *bodies;
static uint32_t body_count;

static void die(const char *what) {
    fprintf(stderr, "loadgen: %s\n", what);
    exit(2);
}

static void load_bodies(void) {
    int fd = open(options.bodies_file, O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) || info.st_size == 0) die("cannot read the bodies file");
    char *text = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (text == MAP_FAILED) die("cannot map the bodies file");
    close(fd);
    bodies = malloc(BODIES_MAX * sizeof *bodies);
    for (const char *at = text, *end = text + info.st_size; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        if (stop > at) {
            if (body_count == BODIES_MAX) die("more than 1,048,576 bodies");
            bodies[body_count++] = (Body){at, (size_t)(stop - at)};
        }
        at = stop + 1;
    }
    if (!body_count) die("the bodies file is empty");
}

static void parse_options(int argc, char **argv) {
    const char *host = "127.0.0.1";
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) die("every option takes a value");
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--host")) host = value;
        else if (!strcmp(name, "--port")) options.port = (uint16_t)atoi(value);
        else if (!strcmp(name, "--path")) options.path = value;
        else if (!strcmp(name, "--bodies")) options.bodies_file = value;
        else if (!strcmp(name, "--records")) options.records_file = value;
        else if (!strcmp(name, "--concurrency")) options.concurrency = (uint32_t)atoi(value);
        else if (!strcmp(name, "--requests")) options.requests = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--duration-s")) options.duration_s = atof(value);
        else if (!strcmp(name, "--rate")) options.rate = atof(value);
        else if (!strcmp(name, "--timeout-s")) options.timeout_s = atof(value);
        else if (!strcmp(name, "--seed")) options.seed = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--header")) {
            if (strlen(options.headers) + strlen(value) + 3 > sizeof options.headers) die("headers are too long");
            strcat(strcat(options.headers, value), "\r\n");
        } else die("usage: loadgen --port P --bodies FILE [--host 127.0.0.1] [--path /v1/chat/completions] [--concurrency 1] "
                   "[--requests N | --duration-s S] [--rate R] [--timeout-s 120] [--seed 1] [--header 'name: value'] [--records FILE]");
    }
    if (!strcmp(host, "localhost")) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &options.host) != 1 || ntohl(options.host.s_addr) >> 24 != 127) die("only loopback hosts (127.0.0.0/8) are allowed");
    if (!options.port || !options.bodies_file) die("--port and --bodies are required");
    if (!options.concurrency || options.concurrency > CONCURRENCY_MAX) die("--concurrency must be 1 to 16384");
    if (!options.requests && options.duration_s <= 0) die("--requests or --duration-s is required");
    if (strlen(options.path) > 512) die("--path is too long");
    if (!options.requests) options.requests = UINT64_MAX;
}
