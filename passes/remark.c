/* Remarks: one record for each decision of a pass. The same decision in several places of one repeat is one record
 * (`times`). */
#include <stdarg.h>
#include <string.h>
#include "passes/inside.h"
#include "support/snippet.h"

static const struct {
    const char *name, *sentence, *page;
} codes[REMARK_CODE_COUNT] = {
#define REMARK(code, sentence, page) {#code, sentence, page},
#include "passes/remarks.def"
#undef REMARK
};

static const char *const kinds[] = {"passed", "missed", "analysis"};

const char *remark_code_name(RemarkCode code)
{
    return codes[code].name;
}

const char *remark_code_sentence(RemarkCode code)
{
    return codes[code].sentence;
}

const char *remark_code_page(RemarkCode code)
{
    return codes[code].page;
}

Remark *remark(PassContext *px, RemarkKind kind, RemarkCode code, const Node *n, const char *why, ...)
{
    Remarks *all = px->remarks;
    va_list args;
    va_start(args, why);
    const char *text = arena_vprint(all->arena, why, args);
    va_end(args);
    const char *op = n ? word_of(n) : "";
    int64_t times = n ? layers_of(n) : 1;
    for (size_t i = 0; i < all->count; i++) {
        Remark *r = &all->items[i];
        bool same_place =
            n && r->at.source == n->at.source && r->at.begin == n->at.begin && r->at.end == n->at.end && n->at.source;
        if (same_place && r->kind == kind && r->code == code && !strcmp(r->pass, px->pass) && !strcmp(r->op, op) &&
            !strcmp(r->why, text)) {
            r->times += times;
            return r;
        }
    }
    all->items = arena_room(all->arena, all->items, all->count, &all->capacity, sizeof *all->items);
    Remark *r = &all->items[all->count++];
    *r = (Remark){.kind = kind,
                  .code = code,
                  .pass = px->pass,
                  .op = arena_print(all->arena, "%s", op),
                  .why = text,
                  .times = times};
    if (n)
        r->at = n->at;
    return r;
}

/* ---- for people -------------------------------------------------------------------------------------------------- */

static void put_place(Text *out, Span at)
{
    LineColumn start = span_start(at);
    text_add(out, "%s:%d:%d", at.source->path, start.line, start.column);
}

static void put_bytes(Text *out, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB"};
    int unit = 0;
    double size = bytes < 0 ? -bytes : bytes;
    for (; size >= 999.5 && unit < 3; unit++)
        size /= 1000;
    text_add(out, "%s%.*f %s", bytes < 0 ? "-" : "+", size < 9.95 && unit ? 1 : 0, size, units[unit]);
}

void remark_print(const Remark *r, Text *out)
{
    size_t start = text_column(out);
    text_add(out, "%s", kinds[r->kind]);
    text_pad(out, start + 10);
    text_add(out, "%s", r->pass);
    text_pad(out, start + 28);
    if (r->times > 1)
        text_add(out, "%lldx ", (long long)r->times);
    text_add(out, "%s", r->op);
    text_pad(out, start + 44);
    text_add(out, " %s", r->why);
    if (r->kind == REMARK_MISSED)
        text_add(out, "  [%s]", remark_code_name(r->code));
    if (r->bytes_before != 0 || r->bytes_after != 0) {
        text_add(out, "  ");
        put_bytes(out, (r->bytes_after - r->bytes_before) * (double)r->times);
    }
    if (r->at.source) {
        text_add(out, "  ");
        put_place(out, r->at);
    }
    bool same = r->evidence.source == r->at.source && r->evidence.begin == r->at.begin;
    if (r->evidence.source && !same) {
        text_add(out, "  because of ");
        put_place(out, r->evidence);
    }
    if (r->help)
        text_add(out, "  help: %s", r->help);
}

/* ---- for programs ------------------------------------------------------------------------------------------------ */

static void put_quoted(Text *out, const char *text)
{
    Text safe = text_new(out->arena); /* JSON is valid UTF-8, paths need not be */
    put_safe(&safe, text, strlen(text), 0);
    text_char(out, '"');
    for (const char *p = safe.length ? safe.data : ""; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            text_add(out, "\\%c", c);
        else if (c < 0x20)
            text_add(out, "\\u%04x", c);
        else
            text_char(out, (char)c);
    }
    text_char(out, '"');
}

static void put_span(Text *out, Span at)
{
    LineColumn start = span_start(at);
    text_add(out, "{\"file\":");
    put_quoted(out, at.source->path);
    text_add(out, ",\"line\":%d,\"col\":%d,\"len\":%u}", start.line, start.column, at.end - at.begin);
}

void remark_json(const Remark *r, const char *model, Text *out)
{
    text_add(out, "{\"v\":1,\"kind\":\"%s\",\"pass\":\"%s\",\"code\":\"%s\",\"model\":", kinds[r->kind], r->pass,
             remark_code_name(r->code));
    put_quoted(out, model ? model : "");
    if (r->at.source) {
        text_add(out, ",\"at\":");
        put_span(out, r->at);
    }
    text_add(out, ",\"op\":");
    put_quoted(out, r->op);
    text_add(out, ",\"times\":%lld,\"why\":", (long long)r->times);
    put_quoted(out, r->why);
    if (r->evidence.source) {
        text_add(out, ",\"evidence\":[");
        put_span(out, r->evidence);
        text_char(out, ']');
    }
    double before = r->bytes_before * (double)r->times, after = r->bytes_after * (double)r->times;
    if (before != 0 || after != 0)
        text_add(out, r->kind == REMARK_MISSED ? ",\"bytes\":{\"before\":%.0f,\"after\":null,\"possible\":%.0f}"
                                               : ",\"bytes\":{\"before\":%.0f,\"after\":%.0f}",
                 before, after);
    if (r->flops != 0)
        text_add(out, ",\"flops\":%.0f", r->flops * (double)r->times);
    if (r->help) {
        text_add(out, ",\"help\":");
        put_quoted(out, r->help);
    }
    text_char(out, '}');
}
