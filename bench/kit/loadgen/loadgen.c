// HTTP load generator for OpenAI-shaped servers on this host: one thread, epoll, keep-alive, streaming or not.
// Closed loop (--concurrency), or open loop (--rate: Poisson arrivals, latency counted from the scheduled arrival, so a slow
// server cannot hide by slowing its callers). Prints one JSON object. See bench/README.md.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "options.h"
#include "response.h"
#include "stats.h"

#define RECORDS_MAX (1u << 21)  // requests kept for exact percentiles; further ones are counted alone
#define GIVE_UP_CONNECTS 1000u  // failed connects beyond the requests that went well
#define READ_BYTES (256u * 1024)

typedef struct {
    double begin_s;
    float ttft_ms, e2e_ms, tpot_ms;  // negative: not known
    uint32_t body, events, tokens;
    int32_t status;
} Record;

typedef struct {
    int fd;
    bool busy, want_write;
    uint32_t body;
    char head[EXTRA_HEADERS_BYTES + 1024];
    size_t head_bytes, sent_bytes;
    uint64_t begin_ns, first_ns, last_ns, now_ns;
    bool reused;
    Response response;
} Connection;

static struct {
    uint64_t ok, status[600], e_connect, e_closed, e_timeout, e_parse, e_stream, e_truncated;
    uint64_t events, content_events, tokens, bytes, prompt_tokens, cached_tokens, with_usage, started, not_recorded;
    Histogram gap;
} total;

static Record *records;
static size_t record_count, record_room;
static Connection *connections;
static uint32_t *idle;
static uint32_t idle_count, busy_count;
static int epoll_fd, timer_fd;
static volatile sig_atomic_t interrupted;
static uint64_t begin_ns, end_ns, next_arrival_ns, random_state;

static void on_signal(int sign) {
    (void)sign;
    interrupted = 1;
}

static double uniform(void) {  // xorshift64*, (0, 1]
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return ((double)((random_state * 0x2545F4914F6CDD1Dull) >> 11) + 1) / 9007199254740992.0;
}

static void record(const Connection *c, uint64_t now) {
    const Response *r = &c->response;
    if (record_count == RECORDS_MAX) {
        total.not_recorded++;
        return;
    }
    if (record_count == record_room) {
        record_room = record_room ? record_room * 2 : 4096;
        records = realloc(records, record_room * sizeof *records);
        if (!records) die("out of memory");
    }
    uint64_t tokens = r->completion_tokens >= 0 ? (uint64_t)r->completion_tokens : r->content_events;
    Record *slot = &records[record_count++];
    *slot = (Record){.begin_s = (double)(c->begin_ns - begin_ns) * 1e-9, .ttft_ms = -1, .tpot_ms = -1, .body = c->body};
    slot->e2e_ms = (float)((double)(now - c->begin_ns) * 1e-6);
    slot->events = (uint32_t)r->events, slot->tokens = (uint32_t)tokens, slot->status = r->status;
    if (r->sse && c->first_ns) slot->ttft_ms = (float)((double)(c->first_ns - c->begin_ns) * 1e-6);
    if (r->sse && c->first_ns && tokens > 1) slot->tpot_ms = (float)((double)(c->last_ns - c->first_ns) * 1e-6 / (double)(tokens - 1));
}

static void on_event(void *context, bool content) {
    Connection *c = context;
    // Without any text (a simulated engine may stream empty deltas) the first event counts.
    if (c->first_ns && content && c->response.content_events > 1) histogram_add(&total.gap, c->now_ns - c->last_ns);
    if (!c->first_ns || (content && c->response.content_events == 1)) c->first_ns = c->now_ns;
    if (content || !c->last_ns) c->last_ns = c->now_ns;
}

static void disconnect(Connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->reused = false;
}

static void release(Connection *c) {
    c->busy = false;
    busy_count--;
    idle[idle_count++] = (uint32_t)(c - connections);
}

static void finish(Connection *c, uint64_t now) {
    Response *r = &c->response;
    total.status[r->status >= 0 && r->status < 600 ? r->status : 0]++;
    total.bytes += r->bytes, total.events += r->events, total.content_events += r->content_events;
    if (r->sse && r->saw_error) total.e_stream++;
    else if (r->sse && !r->saw_done) total.e_truncated++;
    else if (r->status >= 200 && r->status < 300) {
        total.ok++;
        total.tokens += r->completion_tokens >= 0 ? (uint64_t)r->completion_tokens : r->content_events;
        total.with_usage += r->completion_tokens >= 0;
        total.prompt_tokens += r->prompt_tokens > 0 ? (uint64_t)r->prompt_tokens : 0;
        total.cached_tokens += r->cached_tokens > 0 ? (uint64_t)r->cached_tokens : 0;
        record(c, now);
    }
    if (!r->keep_alive || c->sent_bytes < c->head_bytes + bodies[c->body].n) disconnect(c);  // answered before the body was read
    c->reused = c->fd >= 0;
    release(c);
}

static void fail(Connection *c, uint64_t *counter) {
    (*counter)++;
    disconnect(c);
    release(c);
}

static void watch(Connection *c, bool want_write) {
    if (c->want_write == want_write) return;
    c->want_write = want_write;
    struct epoll_event event = {.events = EPOLLIN | (want_write ? EPOLLOUT : 0), .data.u32 = (uint32_t)(c - connections)};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static bool dial(Connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("out of file descriptors");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = options.host, .sin_port = htons(options.port)};
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) return false;
    c->want_write = true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = (uint32_t)(c - connections)};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) == 0;
}

static void send_rest(Connection *c) {
    const Body *body = &bodies[c->body];
    while (c->sent_bytes < c->head_bytes + body->n) {
        struct iovec parts[2];
        int count = 0;
        if (c->sent_bytes < c->head_bytes) parts[count++] = (struct iovec){c->head + c->sent_bytes, c->head_bytes - c->sent_bytes};
        size_t body_sent = c->sent_bytes > c->head_bytes ? c->sent_bytes - c->head_bytes : 0;
        parts[count++] = (struct iovec){(void *)(body->at + body_sent), body->n - body_sent};
        ssize_t n = writev(c->fd, parts, count);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
            watch(c, true);
            return;
        }
        if (n < 0) return;  // the read side reports what happened
        c->sent_bytes += (size_t)n;
    }
    watch(c, false);
}

static void launch(uint64_t scheduled_ns) {
    Connection *c = &connections[idle[--idle_count]];
    c->busy = true;
    busy_count++;
    c->body = (uint32_t)(total.started++ % body_count);
    c->begin_ns = scheduled_ns;
    c->first_ns = c->last_ns = 0;
    c->sent_bytes = 0;
    response_reset(&c->response);
    c->head_bytes = (size_t)snprintf(c->head, sizeof c->head, "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%u\r\ncontent-type: application/json\r\n%scontent-length: %zu\r\n\r\n",
                                     options.path, options.port, options.headers, bodies[c->body].n);
    if (c->fd < 0 && !dial(c)) fail(c, &total.e_connect);
    else if (c->reused) send_rest(c);  // a new socket is written when epoll says it is connected
}

static void on_readable(Connection *c, char *buffer) {
    for (;;) {
        ssize_t n = recv(c->fd, buffer, READ_BYTES, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (!c->busy) {  // idle keep-alive connection closed, or bytes nobody asked for
            disconnect(c);
            return;
        }
        if (n <= 0) {
            if (n == 0 && c->response.stage == UNTIL_CLOSE) finish(c, now_ns());
            else if (c->reused && c->response.head_bytes == 0 && c->response.stage == HEAD) {
                // The server closed an idle connection as we wrote: send again on a new one, as every HTTP client does.
                disconnect(c);
                c->sent_bytes = 0;
                if (!dial(c)) fail(c, &total.e_connect);
            } else fail(c, c->sent_bytes ? &total.e_closed : &total.e_connect);
            return;
        }
        c->now_ns = now_ns();
        size_t used = response_feed(&c->response, buffer, (size_t)n, on_event, c);
        if (c->response.stage == BROKEN || (c->response.stage == DONE && used < (size_t)n)) {
            fail(c, &total.e_parse);
            return;
        }
        if (c->response.stage == DONE) {
            finish(c, c->now_ns);
            return;
        }
        if ((size_t)n < READ_BYTES) return;
    }
}

static void launch_due(uint64_t now) {
    while (idle_count && total.started < options.requests && !interrupted) {
        if (total.e_connect > GIVE_UP_CONNECTS + total.ok) {
            fprintf(stderr, "loadgen: nobody answers on port %u\n", options.port);
            interrupted = 1;
            return;
        }
        if (options.rate <= 0) {
            if (end_ns && now >= end_ns) return;
            launch(now);
            continue;
        }
        if (next_arrival_ns > now || (end_ns && next_arrival_ns >= end_ns)) return;
        launch(next_arrival_ns);
        next_arrival_ns += (uint64_t)(-log(uniform()) / options.rate * 1e9);
    }
}

static void arm_timer(uint64_t now) {
    uint64_t due = now + 50000000ull;  // time-outs and --duration-s are looked at every 50 ms
    if (options.rate > 0 && idle_count && next_arrival_ns < due) due = next_arrival_ns > now ? next_arrival_ns : now + 1;
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(due / 1000000000ull), .tv_nsec = (long)(due % 1000000000ull)}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static bool more_to_start(uint64_t now) {
    if (interrupted || total.started >= options.requests) return false;
    return !end_ns || (options.rate > 0 ? next_arrival_ns : now) < end_ns;
}

static void run(void) {
    char *buffer = malloc(READ_BYTES);
    struct epoll_event events[512];
    uint64_t checked_ns = begin_ns;
    for (uint64_t now = begin_ns; more_to_start(now) || (busy_count && !interrupted); now = now_ns()) {
        launch_due(now);
        if (now - checked_ns > 50000000ull || options.rate > 0) arm_timer(now);
        int n = epoll_wait(epoll_fd, events, 512, 100);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == UINT32_MAX) {
                uint64_t expirations;
                if (read(timer_fd, &expirations, sizeof expirations) < 0) continue;
                continue;
            }
            Connection *c = &connections[events[i].data.u32];
            if (c->fd < 0) continue;
            if ((events[i].events & EPOLLOUT) && !(events[i].events & EPOLLERR) && c->busy) send_rest(c);
            if (c->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))) on_readable(c, buffer);
        }
        now = now_ns();
        if (now - checked_ns < 50000000ull) continue;
        checked_ns = now;
        for (uint32_t i = 0; i < options.concurrency; i++) {
            Connection *c = &connections[i];
            if (c->busy && now > c->begin_ns && (double)(now - c->begin_ns) * 1e-9 > options.timeout_s) fail(c, &total.e_timeout);
        }
    }
    free(buffer);
}

static void print_floats(const char *name, size_t offset) {
    double *values = malloc((record_count + 1) * sizeof *values);
    size_t n = 0;
    for (size_t i = 0; i < record_count; i++) {
        float value;
        memcpy(&value, (const char *)&records[i] + offset, sizeof value);
        if (value >= 0) values[n++] = value;
    }
    exact_json(stdout, name, values, n);
    free(values);
}

static void report(double wall_s) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    printf("{\"ok\": %llu, \"started\": %llu, \"interrupted\": %s, \"wall_s\": %.6f, \"loadgen_cpu_s\": %.4f,\n", (unsigned long long)total.ok,
           (unsigned long long)total.started, interrupted ? "true" : "false", wall_s, cpu_s);
    printf("\"req_per_s\": %.3f, \"events\": %llu, \"content_events\": %llu, \"events_per_s\": %.3f, \"tokens\": %llu, \"tokens_per_s\": %.3f,\n",
           (double)total.ok / wall_s, (unsigned long long)total.events, (unsigned long long)total.content_events, (double)total.events / wall_s,
           (unsigned long long)total.tokens, (double)total.tokens / wall_s);
    printf("\"with_usage\": %llu, \"prompt_tokens\": %llu, \"cached_tokens\": %llu, \"body_bytes\": %llu, \"not_recorded\": %llu,\n",
           (unsigned long long)total.with_usage, (unsigned long long)total.prompt_tokens, (unsigned long long)total.cached_tokens,
           (unsigned long long)total.bytes, (unsigned long long)total.not_recorded);
    printf("\"status\": {");
    for (int i = 0, first = 1; i < 600; i++)
        if (total.status[i]) printf("%s\"%d\": %llu", first ? (first = 0, "") : ", ", i, (unsigned long long)total.status[i]);
    printf("},\n\"errors\": {\"connect\": %llu, \"closed\": %llu, \"timeout\": %llu, \"parse\": %llu, \"stream_error\": %llu, \"truncated\": %llu},\n",
           (unsigned long long)total.e_connect, (unsigned long long)total.e_closed, (unsigned long long)total.e_timeout,
           (unsigned long long)total.e_parse, (unsigned long long)total.e_stream, (unsigned long long)total.e_truncated);
    print_floats("ttft_ms", offsetof(Record, ttft_ms)), printf(",\n");
    print_floats("e2e_ms", offsetof(Record, e2e_ms)), printf(",\n");
    print_floats("tpot_ms", offsetof(Record, tpot_ms)), printf(",\n");
    histogram_json(stdout, "gap_ms", &total.gap), printf("}\n");
    if (!options.records_file) return;
    FILE *out = fopen(options.records_file, "w");
    if (!out) die("cannot write the records file");
    fprintf(out, "begin_s\tttft_ms\te2e_ms\ttpot_ms\tbody\tevents\ttokens\tstatus\n");
    for (size_t i = 0; i < record_count; i++) {
        const Record *r = &records[i];
        fprintf(out, "%.6f\t%.4f\t%.4f\t%.4f\t%u\t%u\t%u\t%d\n", r->begin_s, r->ttft_ms, r->e2e_ms, r->tpot_ms, r->body, r->events, r->tokens, r->status);
    }
    fclose(out);
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    load_bodies();
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    connections = calloc(options.concurrency, sizeof *connections);
    idle = calloc(options.concurrency, sizeof *idle);
    if (!connections || !idle) die("out of memory");
    for (uint32_t i = 0; i < options.concurrency; i++) connections[i].fd = -1, idle[idle_count++] = options.concurrency - 1 - i;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);
    random_state = options.seed * 0x9E3779B97F4A7C15ull + 1;
    begin_ns = next_arrival_ns = now_ns();
    if (options.duration_s > 0) end_ns = begin_ns + (uint64_t)(options.duration_s * 1e9);
    run();
    report((double)(now_ns() - begin_ns) * 1e-9);
    return interrupted ? 130 : 0;
}
