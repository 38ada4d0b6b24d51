/* How close an output has to be to a golden file: golden.json says it, for each output or for all. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

struct Tolerance {
    double all;
    bool relative;                      /* `all` is times the largest magnitude, if that is above 1 */
    json_t *json;                       /* NULL: `all` goes for every output */
};

enum { JSON_LIMIT = 1 << 24, JSON_DEPTH = 16 };
static const double otherwise = 1e-5;

/* FILE.json for FILE.safetensors, or golden.json in the same folder, or NULL. */
static const char *json_beside(Arena *a, const char *golden)
{
    const char *slash = strrchr(golden, '/'), *dot = strrchr(slash ? slash : golden, '.');
    size_t stem = dot ? (size_t)(dot - golden) : strlen(golden);
    const char *own = arena_print(a, "%.*s.json", (int)stem, golden);
    if (access(own, F_OK) == 0)
        return own;
    const char *shared = arena_print(a, "%.*sgolden.json", slash ? (int)(slash - golden + 1) : 0, golden);
    return access(shared, F_OK) == 0 ? shared : NULL;
}

static bool is_tolerance(const json_t *j)
{
    return json_is_number(j) && json_number_value(j) >= 0;
}

/* `outputs` may say `atol` for an output; what it says otherwise is for people. */
static bool check_outputs(Context *cx, const char *path, const json_t *json)
{
    const char *name;
    json_t *output;
    json_object_foreach(json_object_get(json, "outputs"), name, output) {
        json_t *atol = json_object_get(output, "atol");
        if (!atol || is_tolerance(atol))
            continue;
        diag_file_error(cx->diags, "E0656", path, arena_print(cx->arena, "outputs.%s.atol", name),
                        "this should be a number, the largest absolute error that passes");
        return false;
    }
    return true;
}

static bool read_json(Context *cx, const char *path, Tolerance *t)
{
    t->json = json_read_file(cx->diags, "E0656", path, JSON_LIMIT, JSON_DEPTH);
    if (!t->json)
        return false;
    const json_t *all = json_at(t->json, "tolerance"), *relative = json_object_get(t->json, "relative");
    if (!is_tolerance(all)) {
        diag_file_error(cx->diags, "E0656", path, "tolerance",
                        "this should be a number, the largest absolute error that passes");
        return false;
    }
    if (relative && !json_is_boolean(relative)) {
        diag_file_error(cx->diags, "E0656", path, "relative", "this should be true or false");
        return false;
    }
    t->all = json_number_value(all);
    t->relative = json_is_true(relative);
    return check_outputs(cx, path, t->json);
}

Tolerance *tolerance_read(Context *cx, const char *golden, const double *atol)
{
    Tolerance *t = arena_alloc(cx->arena, sizeof *t);
    *t = (Tolerance){.all = atol ? *atol : otherwise};
    const char *path = atol ? NULL : json_beside(cx->arena, golden);
    if (!atol && !path)
        tool_note("no tolerance: neither --atol nor a .json file beside the golden file; taking %g", otherwise);
    if (path && !read_json(cx, path, t)) {
        tolerance_free(t);
        return NULL;
    }
    return t;
}

double tolerance_of(const Tolerance *t, const HostTensor *want, double largest)
{
    if (!dtype_is_float(want->dtype))
        return 0;
    const json_t *own = json_object_get(json_object_get(json_object_get(t->json, "outputs"), want->name), "atol");
    if (own)
        return json_number_value(own);
    return t->relative ? t->all * fmax(1, largest) : t->all;
}

void tolerance_free(Tolerance *t)
{
    if (t)
        json_decref(t->json);
}
