/* Tensors of a command: read from --input, split from golden files, compared, written. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

const HostTensor *tensors_find(const HostTensor *tensors, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(tensors[i].name, name))
            return &tensors[i];
    return NULL;
}

const PlanTensor *plan_tensor(const PlanTensor *tensors, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(tensors[i].name, name))
            return &tensors[i];
    return NULL;
}

typedef struct List {
    HostTensor *items;
    size_t count, capacity;
} List;

static void add(Arena *a, List *list, HostTensor t)
{
    list->items = arena_room(a, list->items, list->count, &list->capacity, sizeof *list->items);
    list->items[list->count++] = t;
}

static bool add_npy(Context *cx, const NamedFile *f, List *list)
{
    HostTensor t;
    if (!npy_load(cx, f->path, &t))
        return false;
    t.name = f->name;
    add(cx->arena, list, t);
    return true;
}

/* Golden files hold outputs and other values too: once a file names inputs, only these are taken, and of these only
 * what the model has. */
static bool add_safetensors(Context *cx, const NamedFile *f, const Plan *plan, List *list)
{
    int count;
    HostTensor *all = safetensors_load(cx, f->path, &count);
    if (!all)
        return false;
    bool golden = false;
    for (int i = 0; i < count; i++)
        golden |= !strncmp(all[i].name, "input.", 6);
    for (int i = 0; i < count; i++) {
        bool input = !strncmp(all[i].name, "input.", 6);
        if (golden && !input)
            continue;
        all[i].name += input ? 6 : 0;
        if (golden && !plan_tensor(plan->inputs, plan->n_inputs, all[i].name)) {
            tensors_left_out(all[i].name);
            continue;
        }
        add(cx->arena, list, all[i]);
    }
    return true;
}

static bool add_file(Context *cx, const NamedFile *f, const Plan *plan, List *list)
{
    if (!f->name && ends_with(f->path, ".npy")) {
        diag_file_error(cx->diags, "E0654", f->path, NULL,
                        "a .npy file has no name: say which input it is, as in --input NAME=%s", f->path);
        return false;
    }
    if (f->name && ends_with(f->path, ".safetensors")) {
        diag_file_error(cx->diags, "E0654", f->path, NULL, "a .safetensors file brings its own names: --input %s",
                        f->path);
        return false;
    }
    return f->name ? add_npy(cx, f, list) : add_safetensors(cx, f, plan, list);
}

void tensors_left_out(const char *name)
{
    tool_note("the golden file's input `%s` is not the model's: left out", name);
}

bool tensors_load(Context *cx, const Options *o, const Plan *plan, HostTensor **out, int *count)
{
    List list = {0};
    for (int i = 0; i < o->n_inputs; i++)
        if (!add_file(cx, &o->inputs[i], plan, &list))
            return false;
    *out = list.items;
    *count = (int)list.count;
    return true;
}

void tensors_split(Context *cx, const HostTensor *all, int count, HostTensor **inputs, int *n_inputs,
                   HostTensor **outputs, int *n_outputs)
{
    List in = {0}, out = {0};
    for (int i = 0; i < count; i++) {
        HostTensor t = all[i];
        bool input = !strncmp(t.name, "input.", 6), output = !strncmp(t.name, "output.", 7);
        t.name += input ? 6 : output ? 7 : 0;
        if (input || output)
            add(cx->arena, input ? &in : &out, t);
    }
    *inputs = in.items;
    *n_inputs = (int)in.count;
    *outputs = out.items;
    *n_outputs = (int)out.count;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool refuse_output(Context *cx, const char *path, const char *name, const HostTensor *outputs, int count)
{
    Diag *d =
        name ? diag_file_error(cx->diags, "E0655", path, NULL, "the model has no output called `%s`", name)
             : diag_file_error(
                   cx->diags, "E0655", path, NULL,
                   "the model has %d outputs: say which one, as in -o NAME=%s, or write all to a .safetensors file",
                   count, path);
    for (int i = 0; i < count; i++)
        diag_note(d, "output: `%s`", outputs[i].name);
    return false;
}

static bool save_one(Context *cx, const NamedFile *f, const HostTensor *outputs, int count)
{
    if (!f->name && ends_with(f->path, ".safetensors"))
        return safetensors_save(cx, f->path, outputs, count);
    const HostTensor *t = f->name ? tensors_find(outputs, count, f->name) : count == 1 ? outputs : NULL;
    if (!t)
        return refuse_output(cx, f->path, f->name, outputs, count);
    return ends_with(f->path, ".safetensors") ? safetensors_save(cx, f->path, t, 1) : npy_save(cx, f->path, t);
}

bool tensors_save(Context *cx, const NamedFile *files, int n_files, const HostTensor *outputs, int count)
{
    for (int i = 0; i < n_files; i++)
        if (!save_one(cx, &files[i], outputs, count))
            return false;
    return true;
}

void tensors_describe(const HostTensor *t, Text *out)
{
    text_add(out, "%s[", dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        text_add(out, "%s%lld", i ? ", " : "", (long long)t->dims[i]);
    text_add(out, "]");
}

/* ---- slices and differences -------------------------------------------------------------------------------------- */

HostTensor tensors_slice(Arena *a, const HostTensor *t, int axis, int64_t first, int64_t count)
{
    HostTensor s = *t;
    s.dims[axis] = count;
    size_t inner = dtype_size(t->dtype), outer = 1;
    for (int i = 0; i < axis; i++)
        outer *= (size_t)t->dims[i];
    for (int i = axis + 1; i < t->rank; i++)
        inner *= (size_t)t->dims[i];
    size_t row = inner * (size_t)count, step = inner * (size_t)t->dims[axis];
    char *to = arena_array(a, outer + 1, row + 1);
    for (size_t i = 0; i < outer; i++)
        memcpy(to + i * row, (const char *)t->data + i * step + inner * (size_t)first, row);
    s.data = to;
    return s;
}

void tensors_compare(const HostTensor *got, const HostTensor *want, Difference *d)
{
    int64_t count = host_count(want);
    for (int64_t i = 0; i < count; i++) {
        double g = host_get(got, i), w = host_get(want, i), off = fabs(g - w);
        d->largest = isfinite(w) ? fmax(d->largest, fabs(w)) : d->largest;
        if (g == w || (isnan(g) && isnan(w)))
            continue;
        if (isnan(off))
            d->nan = true;
        if (isnan(off) || off > d->absolute) {
            d->absolute = isnan(off) ? INFINITY : off;
            d->at = i;
        }
    }
    d->relative = d->absolute / (d->largest > 0 ? d->largest : 1);
}
