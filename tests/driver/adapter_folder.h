/* Folders of adapters for tests: a small base checkpoint, and adapters written from one line a tensor. */
#ifndef ATTAR_TESTS_DRIVER_ADAPTER_FOLDER_H
#define ATTAR_TESTS_DRIVER_ADAPTER_FOLDER_H

#include "tests/runtime/fixture.h"

#include <math.h>
#include "driver/merge.h"
#include "runtime/checkpoint.h"

enum { MOST_TENSORS = 32 };

/* The same numbers for the same name, none of them 0. */
static UNUSED void fill(HostTensor *t)
{
    uint64_t state = 1;
    for (const char *c = t->name; *c; c++)
        state = state * 31 + (unsigned char)*c;
    for (int64_t i = 0; i < host_count(t); i++)
        host_set(t, i, ((double)(draw(&state) % 2000) - 999.5) / 1024);
}

/* "NAME DIM DIM ...;" for each tensor; behind the name may stand :TYPE, and behind that !nan, !inf or !zero. */
static UNUSED int parse_tensors(Fixture *f, const char *lines, HostTensor *out)
{
    int n = 0;
    while (*lines) {
        const char *end = strchr(lines, ';');
        char *line = arena_copy(&f->arena, lines, (size_t)(end - lines)), *rest = line, *word = strsep(&rest, " ");
        char *flag = strchr(word, '!');
        if (flag)
            *flag++ = 0;
        char *type = strchr(word, ':');
        if (type)
            *type++ = 0;
        HostTensor *t = &out[n++];
        ck_assert_int_le(n, MOST_TENSORS);
        *t = (HostTensor){.name = word, .dtype = DT_F32};
        if (type)
            ck_assert(dtype_from_name(type, &t->dtype));
        while (rest && (word = strsep(&rest, " ")) != NULL)
            t->dims[t->rank++] = atoll(word);
        t->data = arena_alloc(&f->arena, (size_t)host_count(t) * dtype_size(t->dtype) + 1);
        fill(t);
        for (int64_t i = 0; flag && i < host_count(t); i++)
            if (!strcmp(flag, "zero") || i == host_count(t) / 2)
                host_set(t, i, !strcmp(flag, "nan") ? NAN : !strcmp(flag, "inf") ? INFINITY : !strcmp(flag, "huge") ? 3e38 : 0);
        lines = end + 1;
    }
    return n;
}

static UNUSED const char *put_adapter(Fixture *f, const char *name, const char *config, const char *lines)
{
    HostTensor t[MOST_TENSORS];
    const char *dir = at(f, name);
    mkdir(dir, 0700);
    unlink(arena_print(&f->arena, "%s/adapter_model.safetensors", dir)); /* replacing a file waits for the disk, making one does not */
    unlink(arena_print(&f->arena, "%s/adapter_config.json", dir));
    int n = parse_tensors(f, lines, t);
    ck_assert(safetensors_save(&f->cx, arena_print(&f->arena, "%s/adapter_model.safetensors", dir), t, n));
    put_text(f, arena_print(&f->arena, "%s/adapter_config.json", name), config);
    return dir;
}

static UNUSED Checkpoint *put_base(Fixture *f, const char *lines)
{
    HostTensor t[MOST_TENSORS];
    int n = parse_tensors(f, lines, t);
    ck_assert(safetensors_save(&f->cx, at(f, "base.safetensors"), t, n));
    Checkpoint *c = checkpoint_open(&f->cx, at(f, "base.safetensors"));
    ck_assert_ptr_nonnull(c);
    return c;
}

#define LAYER0 "model.layers.0.self_attn."
#define LAYER1 "model.layers.1.self_attn."
#define BASE \
    "model.embed_tokens.weight 11 8;" LAYER0 "q_proj.weight 6 8;" LAYER0 "q_proj.bias 6;" LAYER0 "o_proj.weight 8 6;" LAYER1 "q_proj.weight 6 8;" LAYER1 \
    "q_proj.bias 6;" LAYER1 "o_proj.weight 8 6;" LAYER1 "k_proj.weight 8 8;" LAYER1 "k_proj.bias 8;" \
    "model.conv.weight 4 3 2 5;" "model.codes.weight:u8 6 8;" "model.norm.weight 8;"
#define P "base_model.model."
#define CONFIG(more) "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 4, \"target_modules\": [\"q_proj\", \"o_proj\", \"k_proj\", \"embed_tokens\", \"conv\", \"codes\", \"lm_head\"]" more "}"
#define QA P LAYER0 "q_proj.lora_A.weight 2 8;"
#define QB P LAYER0 "q_proj.lora_B.weight 6 2;"
#define OA P LAYER1 "o_proj.lora_A.weight 2 6;"
#define OB P LAYER1 "o_proj.lora_B.weight 8 2;"

#endif
