// The least a server can do: answers every request with a fixed chat completion, or with a fixed SSE stream where the body says
// "stream": true. It gives loadgen's ceiling, and serves as the SGLang-shaped worker behind the gateway peer.
// GET answers 200 with a small JSON object, whatever the path.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16384u
#define REQUEST_BYTES_MAX (64u << 20)
#define OUT_BYTES 16384u
#define TURN_EVENTS_MAX 1u  // events a stream writes before the next stream's turn, so that streams interleave as an engine's do

typedef struct {
    bool open, streaming, finished;
    char *in;
    size_t in_bytes, in_room;
    uint32_t events_left, events;
    uint64_t due_ns;
    char out[OUT_BYTES];
    size_t out_bytes, out_sent;
} Connection;

static Connection *connections[CONNECTIONS_MAX];
static int active[CONNECTIONS_MAX], active_count;
static uint32_t default_events = 1, pack = 1;
static uint64_t pace_ns;
static char model[128] = "bare";
static int epoll_fd;
static volatile sig_atomic_t stopping;

static void on_signal(int sign) {
    (void)sign;
    stopping = 1;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void drop(int fd) {
    Connection *c = connections[fd];
    if (c->streaming)
        for (int i = 0; i < active_count; i++)
            if (active[i] == fd) {
                active[i] = active[--active_count];
                break;
            }
    free(c->in);
    free(c);
    connections[fd] = NULL;
    close(fd);
}

// Returns false when the connection is gone.
static bool flush(int fd) {
    Connection *c = connections[fd];
    while (c->out_sent < c->out_bytes) {
        ssize_t n = send(fd, c->out + c->out_sent, c->out_bytes - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return true;  // tried again with the next turn or the next EPOLLOUT
        if (n < 0) {
            drop(fd);
            return false;
        }
        c->out_sent += (size_t)n;
    }
    c->out_bytes = c->out_sent = 0;
    return true;
}

static void put(Connection *c, const char *text, size_t n) {
    if (c->out_bytes + n > OUT_BYTES) abort();
    memcpy(c->out + c->out_bytes, text, n);
    c->out_bytes += n;
}

static void put_chunk(Connection *c, const char *text, size_t n) {
    char size[16];
    put(c, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    put(c, text, n);
    put(c, "\r\n", 2);
}

static void put_json(Connection *c, const char *json) {
    char head[160];
    size_t n = strlen(json);
    put(c, head, (size_t)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n", n));
    put(c, json, n);
}

static uint32_t events_of(const char *body, size_t n) {
    static const char *const keys[] = {"\"max_tokens\":", "\"max_completion_tokens\":", "\"max_new_tokens\":"};
    for (int i = 0; i < 3; i++) {
        const char *at = memmem(body, n, keys[i], strlen(keys[i]));
        if (at) return (uint32_t)atoi(at + strlen(keys[i]));  // the byte after the body is always 0
    }
    return default_events;
}

static void answer(int fd, const char *head, const char *body, size_t body_bytes) {
    Connection *c = connections[fd];
    char json[768];
    if (memcmp(head, "POST", 4) != 0) {
        snprintf(json, sizeof json,
                 "{\"object\": \"list\", \"data\": [{\"id\": \"%s\", \"object\": \"model\"}], \"model_path\": \"%s\", \"served_model_name\": \"%s\", "
                 "\"tokenizer_path\": \"%s\", \"is_generation\": true, \"model_type\": \"qwen3\", \"dp_size\": 1, \"version\": \"0\"}",
                 model, model, model, model);
        put_json(c, json);
        return;
    }
    uint32_t events = events_of(body, body_bytes);
    if (memmem(body, body_bytes, "\"stream\":true", 13) || memmem(body, body_bytes, "\"stream\": true", 14)) {
        static const char stream_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        put(c, stream_head, sizeof stream_head - 1);
        c->streaming = true;
        c->events = c->events_left = events;
        c->due_ns = now_ns() + pace_ns;
        active[active_count++] = fd;
        return;
    }
    snprintf(json, sizeof json,
             "{\"id\":\"00000000000000000000000000000000\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"%s\",\"choices\":[{\"index\":0,"
             "\"message\":{\"role\":\"assistant\",\"content\":\"word\"},\"logprobs\":null,\"finish_reason\":\"length\"}],"
             "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":%u,\"total_tokens\":%u}}",
             model, events, events + 1);
    put_json(c, json);
}

static void emit(Connection *c) {
    char text[512], packed[16 * 512];
    size_t n = 0;
    for (uint32_t i = 0; i < pack && c->events_left; i++, c->events_left--) {
        n += (size_t)snprintf(packed + n, sizeof packed - n,
                              "data: {\"id\":\"00000000000000000000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"%s\","
                              "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                              model);
    }
    if (n) put_chunk(c, packed, n);
    if (c->events_left) return;
    n = (size_t)snprintf(text, sizeof text,
                         "data: {\"id\":\"00000000000000000000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"%s\",\"choices\":[],"
                         "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":%u,\"total_tokens\":%u}}\n\ndata: [DONE]\n\n",
                         model, c->events, c->events + 1);
    put_chunk(c, text, n);
    put(c, "0\r\n\r\n", 5);
    c->finished = true;
}

// Looks for one whole request at the start of the input; answers it. Returns false when there is none yet.
static bool take_request(int fd) {
    Connection *c = connections[fd];
    if (c->streaming || c->out_bytes || c->in_bytes < 4) return false;
    char *end = memmem(c->in, c->in_bytes, "\r\n\r\n", 4);
    if (!end) return false;
    *end = 0;
    const char *length = strcasestr(c->in, "\r\ncontent-length:");
    size_t body_bytes = length ? strtoull(length + 17, NULL, 10) : 0, head_bytes = (size_t)(end - c->in) + 4;
    if (c->in_bytes < head_bytes + body_bytes) {
        *end = '\r';
        return false;
    }
    char after = c->in[head_bytes + body_bytes];
    c->in[head_bytes + body_bytes] = 0;
    answer(fd, c->in, c->in + head_bytes, body_bytes);
    c->in[head_bytes + body_bytes] = after;
    c->in_bytes -= head_bytes + body_bytes;
    memmove(c->in, c->in + head_bytes + body_bytes, c->in_bytes);
    return true;
}

static void on_readable(int fd) {
    Connection *c = connections[fd];
    for (;;) {
        if (c->in_room - c->in_bytes < 65536) {
            c->in_room = 2 * c->in_room + 65536 * 2;
            c->in = c->in_room <= 2 * REQUEST_BYTES_MAX ? realloc(c->in, c->in_room + 1) : NULL;
            if (!c->in) abort();
        }
        size_t room = c->in_room - c->in_bytes;
        ssize_t n = recv(fd, c->in + c->in_bytes, room, 0);
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) {
            drop(fd);
            return;
        }
        c->in_bytes += (size_t)n;
        if ((size_t)n < room) break;
    }
    while (take_request(fd))
        if (!flush(fd)) return;
}

static void turn(uint64_t now) {
    for (int i = active_count - 1; i >= 0; i--) {
        int fd = active[i];
        Connection *c = connections[fd];
        if (c->out_bytes && !flush(fd)) continue;
        for (uint32_t k = 0; k < TURN_EVENTS_MAX && !c->finished && !c->out_bytes && (!pace_ns || c->due_ns <= now); k++) {
            emit(c);
            c->due_ns += pace_ns;
            if (!flush(fd)) break;
        }
        if (connections[fd] == c && c->finished && !c->out_bytes) {
            c->streaming = c->finished = false;
            active[i] = active[--active_count];
            while (take_request(fd))
                if (!flush(fd)) break;
        }
    }
}

static void arm(int timer_fd) {
    uint64_t due = UINT64_MAX;
    for (int i = 0; i < active_count; i++)
        if (connections[active[i]]->due_ns < due) due = connections[active[i]]->due_ns;
    struct itimerspec when = {0};
    if (due != UINT64_MAX) when.it_value.tv_sec = (time_t)(due / 1000000000ull), when.it_value.tv_nsec = (long)(due % 1000000000ull);
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) address.sin_port = htons((uint16_t)atoi(argv[i + 1]));
        else if (!strcmp(argv[i], "--events")) default_events = (uint32_t)atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--pack")) pack = (uint32_t)atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--pace-us")) pace_ns = strtoull(argv[i + 1], NULL, 10) * 1000;
        else if (!strcmp(argv[i], "--model")) snprintf(model, sizeof model, "%s", argv[i + 1]);
        else address.sin_port = 0, i = argc;
    }
    if (!address.sin_port || pack < 1 || pack > 16) {
        fprintf(stderr, "usage: bare_server --port P [--events N] [--pack 1..16 events a write] [--pace-us US] [--model NAME]\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("bare_server");
        return 1;
    }
    int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = timer_fd;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);
    while (!stopping) {
        if (pace_ns) arm(timer_fd);
        int n = epoll_wait(epoll_fd, events, 512, active_count && !pace_ns ? 0 : 1000);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            uint64_t expirations;
            if (fd == timer_fd) {
                if (read(timer_fd, &expirations, sizeof expirations) < 0) continue;
            } else if (fd == listener) {
                int peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (peer < 0) continue;
                if (peer >= (int)CONNECTIONS_MAX) {
                    close(peer);
                    continue;
                }
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                connections[peer] = calloc(1, sizeof(Connection));
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = peer};
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, peer, &event);
            } else if (connections[fd]) {
                on_readable(fd);
            }
        }
        turn(now_ns());
    }
    return 0;
}
