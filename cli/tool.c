/* One command's work: a compilation, its diagnostics on stderr, its exit status. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "driver/source.h"

static void out_of_memory(void *state)
{
    (void)state;
    static const char message[] = "error[E1001]: out of memory\n";
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0)
        _exit(EXIT_ENVIRONMENT);
    _exit(EXIT_ENVIRONMENT);
}

static bool wants_colour(const Options *o, int file)
{
    if (o->colour != COLOUR_AUTO)
        return o->colour == COLOUR_ALWAYS;
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no_colour && *no_colour) && term && strcmp(term, "dumb") && isatty(file);
}

void tool_begin(Tool *t, const Options *o)
{
    *t = (Tool){.o = o, .colour = wants_colour(o, STDERR_FILENO), .colour_out = wants_colour(o, STDOUT_FILENO)};
    compile_begin(&t->c);
    t->c.arena.on_oom = out_of_memory;
    t->c.remarks.asked = o->dims;
    t->c.remarks.n_asked = o->n_dims;
}

enum { IR_LIMIT = 256 << 20 };

bool tool_is_ir(const char *path)
{
    size_t n = strlen(path);
    return n > 3 && !strcmp(path + n - 3, ".ir");
}

bool tool_load(Tool *t)
{
    Compilation *c = &t->c;
    if (!tool_is_ir(t->o->compile.model))
        return compile_load(c, &t->o->compile);
    if (t->o->n_lora) {
        diag_file_error(&c->diags, "E0679", t->o->lora[0], NULL, "%s is IR, which reads no checkpoint: there is nothing to adapt", t->o->compile.model);
        return false;
    }
    if (!source_read(&c->cx, "E0100", t->o->compile.model, IR_LIMIT, &c->source))
        return false;
    c->model.graph = graph_read(&c->cx, &c->source);
    const char *name = t->o->compile.model_name;
    if (!c->model.graph || !name || !strcmp(name, c->model.graph->name))
        return c->model.graph != NULL;
    diag_file_error(&c->diags, "E0126", c->source.path, NULL, "the text holds the model `%s`, not `%s`",
                    c->model.graph->name, name);
    return false;
}

void tool_flush(Tool *t)
{
    if (!t->c.diags.first)
        return;
    Text text = text_new(&t->c.arena);
    if (t->o->json_errors)
        diag_render_json(&t->c.diags, &text);
    else
        diag_render(&t->c.diags, &text, t->colour);
    fflush(stdout);
    fputs(text.data, stderr);
    t->c.diags.first = t->c.diags.last = NULL;
    t->c.diags.errors = t->c.diags.warnings = 0;
}

int tool_end(Tool *t, bool good)
{
    if (t->o->remarks)
        good = remarks_save(t) && good;
    if (t->o->remark_summary)
        remarks_summary(t);
    int status = diag_exit_status(&t->c.diags);
    tool_flush(t);
    compile_free(&t->c);
    return status ? status : good ? EXIT_GOOD : EXIT_MODEL;
}

const char *tool_paint(const Tool *t, const char *escape)
{
    return t->colour_out ? escape : "";
}

void tool_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

double tool_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int tool_threads(const Options *o)
{
    return o->threads > 0 ? o->threads : pool_cpus();
}

Session *tool_session(Tool *t, const HostTensor *inputs, int n_inputs, const SessionHooks *hooks)
{
    const Plan *plan = &t->c.emitted.plan;
    int64_t batch = plan->n_caches ? signature_batch_size(plan, inputs, n_inputs) : 0;
    return session_new(&t->c.cx, &t->c.program, batch, tool_threads(t->o), hooks);
}

static int64_t times_fused(const Remarks *remarks, const char *pass)
{
    int64_t times = 0;
    for (size_t i = 0; i < remarks->count; i++)
        if (remarks->items[i].code == REMARK_FUSED && remarks->items[i].kind == REMARK_PASSED &&
            !strcmp(remarks->items[i].pass, pass))
            times += remarks->items[i].times;
    return times;
}

const char *tool_fused(Tool *t)
{
    Text line = text_new(&t->c.arena);
    for (int i = 0; i < pipeline_length; i++) {
        const char *pass = pass_info[pipeline[i].id].name;
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen |= pipeline[j].id == pipeline[i].id;
        int64_t times = seen ? 0 : times_fused(&t->c.remarks, pass);
        if (times)
            text_add(&line, "%s%s %lld", line.length ? ", " : "", strncmp(pass, "fuse-", 5) ? pass : pass + 5,
                     (long long)times);
    }
    return line.length ? line.data : "nothing";
}

static const char *with_unit(Arena *a, double value, const char *const *units, int count)
{
    int unit = 0;
    for (; value >= 999.5 && unit + 1 < count; unit++)
        value /= 1000;
    if (!unit)
        return arena_print(a, "%.0f%s", value, units[0]);
    return arena_print(a, "%.*f%s", value < 99.95 ? 1 : 0, value, units[unit]);
}

const char *tool_count(Arena *a, double count)
{
    static const char *const units[] = {"", " k", " M", " G", " T"};
    return with_unit(a, count, units, 5);
}

const char *tool_bytes(Arena *a, double bytes)
{
    static const char *const units[] = {" B", " kB", " MB", " GB", " TB"};
    return with_unit(a, bytes, units, 5);
}

double tool_peak(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    double kilobytes = 0;
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "VmHWM:", 6))
            kilobytes = strtod(line + 6, NULL);
    if (f)
        fclose(f);
    return 1024 * kilobytes;
}
