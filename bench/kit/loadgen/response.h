// HTTP/1.1 responses (content-length, chunked, until close) and SSE, fed in pieces of any size.
#pragma once
#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES_MAX 16384u
#define EVENT_BYTES_MAX (1u << 20)  // one SSE event; larger ones count as a parse error
#define TAIL_BYTES 4096u            // of an unstreamed body: usage stands near its end

typedef enum { HEAD, SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE, DONE, BROKEN } Stage;

typedef struct {
    Stage stage;
    int status;
    bool sse, keep_alive, saw_done, saw_error;
    uint64_t left;                // of the sized body or of the chunk
    uint64_t bytes;               // of body
    uint64_t line_bytes;          // of the chunk-size or trailer line so far
    uint64_t events, content_events;
    int64_t completion_tokens, prompt_tokens, cached_tokens;  // -1: no usage seen
    char head[HEAD_BYTES_MAX + 1];
    uint32_t head_bytes;
    char *pending;                // an unfinished SSE event, or the tail of an unstreamed body
    uint32_t pending_bytes, pending_room;
} Response;

// Called for each SSE data event; `content` when it carries text.
typedef void (*OnEvent)(void *context, bool content);

static inline void response_reset(Response *r) {
    char *pending = r->pending;
    uint32_t room = r->pending_room;
    memset(r, 0, offsetof(Response, head));
    r->head_bytes = r->pending_bytes = 0;
    r->pending = pending;
    r->pending_room = room;
    r->stage = HEAD;
    r->completion_tokens = r->prompt_tokens = r->cached_tokens = -1;
}

static inline int64_t number_after(const char *text, size_t n, const char *key) {
    size_t key_bytes = strlen(key);
    const char *at = memmem(text, n, key, key_bytes), *end = text + n;
    if (!at) return -1;
    at += key_bytes;
    while (at < end && (*at == ' ' || *at == ':')) at++;
    if (at >= end || !isdigit((unsigned char)*at)) return -1;
    int64_t value = 0;
    while (at < end && isdigit((unsigned char)*at) && value < (INT64_MAX - 9) / 10) value = value * 10 + (*at++ - '0');
    return value;
}

static inline void read_usage(Response *r, const char *text, size_t n) {
    int64_t completion = number_after(text, n, "\"completion_tokens\"");
    if (completion < 0) return;
    r->completion_tokens = completion;
    r->prompt_tokens = number_after(text, n, "\"prompt_tokens\"");
    r->cached_tokens = number_after(text, n, "\"cached_tokens\"");
}

// Whether `"key": "x...` with a non-empty string stands in the event. Matches content, reasoning_content and text alike.
static inline bool has_text(const char *text, size_t n) {
    static const char *const keys[] = {"content\":", "\"text\":", "\"arguments\":"};
    for (int i = 0; i < 3; i++) {
        const char *at = text, *end = text + n;
        size_t key_bytes = strlen(keys[i]);
        while ((at = memmem(at, (size_t)(end - at), keys[i], key_bytes))) {
            at += key_bytes;
            if (at < end && *at == ' ') at++;
            if (end - at >= 2 && at[0] == '"' && at[1] != '"') return true;
        }
    }
    return false;
}

static inline void on_sse_event(Response *r, const char *event, size_t n, OnEvent on_event, void *context) {
    while (n && memcmp(event, "data:", n < 5 ? n : 5) != 0) {  // skip comment and event: lines
        const char *line_end = memchr(event, '\n', n);
        if (!line_end) return;
        n -= (size_t)(line_end + 1 - event);
        event = line_end + 1;
    }
    if (n < 5) return;
    event += 5, n -= 5;
    if (n && *event == ' ') event++, n--;
    if (n >= 6 && memcmp(event, "[DONE]", 6) == 0) {
        r->saw_done = true;
        return;
    }
    if (n >= 8 && memcmp(event, "{\"error\"", 8) == 0) r->saw_error = true;
    bool content = has_text(event, n);
    r->events++;
    r->content_events += content;
    if (!content || memmem(event, n, "\"usage\":{", 9)) read_usage(r, event, n);
    on_event(context, content);
}

static inline bool keep(Response *r, const char *at, size_t n, size_t limit) {
    if (r->pending_bytes + n > limit) return false;
    if (r->pending_bytes + n > r->pending_room) {
        r->pending_room = (uint32_t)(2 * (r->pending_bytes + n) + 1024);
        r->pending = realloc(r->pending, r->pending_room);
        if (!r->pending) abort();
    }
    memcpy(r->pending + r->pending_bytes, at, n);
    r->pending_bytes += (uint32_t)n;
    return true;
}

static inline void on_body(Response *r, const char *at, size_t n, OnEvent on_event, void *context) {
    r->bytes += n;
    if (!r->sse) {
        if (n >= TAIL_BYTES) at += n - TAIL_BYTES, n = TAIL_BYTES, r->pending_bytes = 0;
        if (r->pending_bytes + n > TAIL_BYTES) {
            size_t drop = r->pending_bytes + n - TAIL_BYTES;
            memmove(r->pending, r->pending + drop, r->pending_bytes - drop);
            r->pending_bytes -= (uint32_t)drop;
        }
        keep(r, at, n, TAIL_BYTES);
        return;
    }
    size_t scan = 0;
    const char *text = at;
    size_t text_bytes = n;
    bool joined = r->pending_bytes > 0;
    if (joined) {  // an event began in an earlier piece
        scan = r->pending_bytes - 1;
        if (!keep(r, at, n, EVENT_BYTES_MAX)) {
            r->stage = BROKEN;
            return;
        }
        text = r->pending, text_bytes = r->pending_bytes;
    }
    size_t begin = 0;
    const char *end;
    while ((end = memmem(text + scan, text_bytes - scan, "\n\n", 2))) {
        on_sse_event(r, text + begin, (size_t)(end - text) - begin, on_event, context);
        begin = scan = (size_t)(end - text) + 2;
    }
    if (joined) {
        memmove(r->pending, r->pending + begin, r->pending_bytes - begin);
        r->pending_bytes -= (uint32_t)begin;
    } else if (begin < text_bytes && !keep(r, text + begin, text_bytes - begin, EVENT_BYTES_MAX)) {
        r->stage = BROKEN;
    }
}

static inline const char *header_value(const char *head, const char *name) {
    const char *at = strcasestr(head, name);  // `name` is "\r\nname:"
    if (!at) return NULL;
    at += strlen(name);
    while (*at == ' ' || *at == '\t') at++;
    return at;
}

static inline void on_head(Response *r) {
    r->head[r->head_bytes] = 0;
    if (r->head_bytes < 12 || memcmp(r->head, "HTTP/1.", 7) != 0) {
        r->stage = BROKEN;
        return;
    }
    r->status = atoi(r->head + 9);
    const char *connection = header_value(r->head, "\r\nconnection:"), *length = header_value(r->head, "\r\ncontent-length:");
    const char *encoding = header_value(r->head, "\r\ntransfer-encoding:"), *type = header_value(r->head, "\r\ncontent-type:");
    r->keep_alive = r->head[7] == '1' && !(connection && strncasecmp(connection, "close", 5) == 0);
    r->sse = type && strncasecmp(type, "text/event-stream", 17) == 0;
    if (encoding && strncasecmp(encoding, "chunked", 7) == 0) {
        r->stage = CHUNK_SIZE;
    } else if (length) {
        r->left = strtoull(length, NULL, 10);
        r->stage = r->left ? SIZED : DONE;
    } else {
        r->stage = r->status == 204 || r->status == 304 ? DONE : UNTIL_CLOSE;
    }
}

static inline size_t feed_head(Response *r, const char *at, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (r->head_bytes == HEAD_BYTES_MAX) {
            r->stage = BROKEN;
            return i;
        }
        r->head[r->head_bytes++] = at[i];
        if (at[i] == '\n' && r->head_bytes >= 4 && memcmp(r->head + r->head_bytes - 4, "\r\n\r\n", 4) == 0) {
            on_head(r);
            return i + 1;
        }
    }
    return n;
}

static inline size_t feed_line(Response *r, const char *at, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char c = at[i];
        if (c == '\n') {
            bool empty = r->line_bytes == 0;
            r->line_bytes = 0;
            if (r->stage == CHUNK_SIZE) r->stage = r->left ? CHUNK_DATA : TRAILER;
            else if (r->stage == CHUNK_END) r->stage = CHUNK_SIZE, r->left = 0;
            else if (empty) r->stage = DONE;
            return i + 1;
        }
        if (c == '\r') continue;
        r->line_bytes++;
        if (r->stage == CHUNK_SIZE) {
            if (!isxdigit((unsigned char)c) || r->line_bytes > 15) {
                r->stage = BROKEN;
                return i;
            }
            r->left = r->left * 16 + (uint64_t)(isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
        } else if (r->stage == CHUNK_END) {
            r->stage = BROKEN;
            return i;
        }
    }
    return n;
}

// Feeds one piece; returns the bytes used (fewer than n only at DONE or BROKEN).
static inline size_t response_feed(Response *r, const char *at, size_t n, OnEvent on_event, void *context) {
    size_t used = 0;
    while (used < n && r->stage < DONE) {
        size_t rest = n - used;
        if (r->stage == HEAD) {
            used += feed_head(r, at + used, rest);
        } else if (r->stage == SIZED || r->stage == CHUNK_DATA || r->stage == UNTIL_CLOSE) {
            bool sized = r->stage != UNTIL_CLOSE;
            if (sized && rest > r->left) rest = r->left;
            Stage stage = r->stage;
            on_body(r, at + used, rest, on_event, context);
            used += rest;
            if (sized && (r->left -= rest) == 0 && r->stage != BROKEN) r->stage = stage == SIZED ? DONE : CHUNK_END;
        } else {
            used += feed_line(r, at + used, rest);
        }
    }
    if (r->stage == DONE && !r->sse && r->pending_bytes) read_usage(r, r->pending, r->pending_bytes);
    return used;
}
