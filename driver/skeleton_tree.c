/* Tensor names as a tree of scopes, in the order in which a model reads them. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "driver/skeleton_inside.h"

/* Checkpoints are sorted by name; models read embeddings first and heads last. The first row that the name contains
 * decides. */
static const struct {
    const char *part;
    int rank;
} order[] = {
    {"word_emb", 0}, {"token_type", 2}, {"position", 3}, {"h_to_4h", 50},      {"4h_to_h", 60}, {"embed_out", 95},
    {"lm_head", 95}, {"embed", 1},      {"wte", 0},      {"wpe", 3},           {"shared", 0},   {"pooler", 90},
    {"head", 91},    {"cls", 92},       {"final", 80},   {"ln_f", 80},         {"query", 20},   {"q_", 20},
    {"c_attn", 20},  {"key", 21},       {"k_", 21},      {"value", 22},        {"v_", 22},      {"ln_1", 10},
    {"input_", 10},  {"pre_", 10},      {"ln_2", 40},    {"post_", 40},        {"attn", 15},    {"attention", 15},
    {"c_fc", 50},    {"gate", 50},      {"up_", 51},     {"intermediate", 50}, {"down", 60},    {"c_proj", 60},
    {"o_", 30},      {"out", 60},       {"norm", 70},    {"mlp", 50},          {"ffn", 50},     {"layer", 45},
    {"block", 45},
};

static int rank_of(const char *name)
{
    char lower[64];
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof lower; n++)
        lower[n] = (char)tolower((unsigned char)name[n]);
    lower[n] = 0;
    if (n == 1)
        return *lower == 'q' ? 20 : *lower == 'k' ? 21 : *lower == 'v' ? 22 : *lower == 'o' ? 30 : 45;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (strstr(lower, order[i].part))
            return order[i].rank;
    return 45;
}

static int compare_branches(const void *x, const void *y)
{
    const Branch *a = *(Branch *const *)x, *b = *(Branch *const *)y;
    if (a->number >= 0 && b->number >= 0)
        return (a->number > b->number) - (a->number < b->number);
    int ranks = rank_of(a->name) - rank_of(b->name);
    int norms = (strstr(a->name, "norm") != NULL) - (strstr(b->name, "norm") != NULL);
    return ranks ? ranks : norms ? norms : strcmp(a->name, b->name);
}

static void sort(Branch *b)
{
    if (b->n_children)
        qsort(b->children, b->n_children, sizeof *b->children, compare_branches);
    for (size_t i = 0; i < b->n_children; i++)
        sort(b->children[i]);
}

static int64_t number_of(const char *word, size_t length)
{
    if (!length || length > 9 || (length > 1 && *word == '0'))
        return -1;
    int64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (!isdigit((unsigned char)word[i]))
            return -1;
        value = value * 10 + word[i] - '0';
    }
    return value;
}

/* Names come sorted, so a component that was seen before is the last child or close to it. */
static Branch *grow(Context *cx, Branch *b, const char *word, size_t length)
{
    for (size_t i = b->n_children; i > 0; i--)
        if (!strncmp(b->children[i - 1]->name, word, length) && !b->children[i - 1]->name[length])
            return b->children[i - 1];
    Branch *child = arena_alloc(cx->arena, sizeof *child);
    child->name = arena_copy(cx->arena, word, length);
    child->number = number_of(word, length);
    b->children = arena_room(cx->arena, b->children, b->n_children, &b->room, sizeof *b->children);
    b->children[b->n_children++] = child;
    return child;
}

static const char *with_holes(Context *cx, const char *name)
{
    Text out = text_new(cx->arena);
    for (const char *word = name;; word++) {
        size_t length = strcspn(word, ".");
        if (number_of(word, length) >= 0)
            text_add(&out, "{i}");
        else
            text_put(&out, word, length);
        word += length;
        if (!*word)
            return out.data;
        text_char(&out, '.');
    }
}

Branch *branch_tree(Context *cx, const HostTensor *tensors, int64_t count, Map *ignored)
{
    Branch *root = arena_alloc(cx->arena, sizeof *root);
    root->name = "";
    root->number = -1;
    for (int64_t i = 0; i < count; i++) {
        bool single = tensors[i].rank == 0 || host_count(&tensors[i]) == 0;
        if (!dtype_is_float(tensors[i].dtype) || single) {
            map_set(ignored, with_holes(cx, tensors[i].name), root);
            continue;
        }
        Branch *b = root;
        for (const char *word = tensors[i].name;; word++) {
            size_t length = strcspn(word, ".");
            b = grow(cx, b, word, length);
            word += length;
            if (!*word)
                break;
        }
        b->tensor = &tensors[i];
    }
    sort(root);
    return root;
}

const Branch *branch_child(const Branch *b, const char *name)
{
    for (size_t i = 0; i < b->n_children; i++)
        if (!strcmp(b->children[i]->name, name))
            return b->children[i];
    return NULL;
}

bool branch_is_module(const Branch *b)
{
    for (size_t i = 0; i < b->n_children; i++)
        if (b->children[i]->n_children)
            return false;
    const Branch *weight = branch_child(b, "weight"), *bias = branch_child(b, "bias");
    return !b->tensor && ((weight && weight->tensor) || (bias && bias->tensor));
}

int branch_rank(const Branch *b)
{
    int most = b->tensor ? b->tensor->rank : 0;
    for (size_t i = 0; i < b->n_children; i++) {
        int here = branch_rank(b->children[i]);
        most = here > most ? here : most;
    }
    return most;
}

static void add_shape(const Branch *b, Text *out)
{
    if (b->tensor) {
        text_add(out, "%d", (int)b->tensor->dtype);
        for (int i = 0; i < b->tensor->rank; i++)
            text_add(out, " %lld", (long long)b->tensor->dims[i]);
    }
    text_char(out, '{');
    for (size_t i = 0; i < b->n_children; i++) {
        text_add(out, "%s:", b->children[i]->name);
        add_shape(b->children[i], out);
    }
    text_char(out, '}');
}

const char *branch_shape(Context *cx, const Branch *b)
{
    Text out = text_new(cx->arena);
    add_shape(b, &out);
    return out.data;
}
