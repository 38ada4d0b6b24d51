/* Shared by the interpreter's files. */
#ifndef ATTAR_IR_INTERPRET_INSIDE_H
#define ATTAR_IR_INTERPRET_INSIDE_H

#include "ir/interpret.h"

typedef struct Run {
    Context *cx;
    const Graph *model;
    const Bindings *bind;
    Arena *work;                        /* where values of the current graph go */
    Value **values;                     /* by node id; several results: an array of values */
    int64_t layer;                      /* of the innermost repeat; -1 outside */
    int64_t round;                      /* the same, counted on through the rounds of the repeats around */
    bool failed;                        /* a diagnostic was reported: everything stops */
} Run;

Value *value_new(Run *run, const Type *type);                   /* sizes bound, data uninitialised */
Value *value_of(const Run *run, const Node *n);
int64_t size_named(const Run *run, const char *symbol);         /* 0 if the model has no such symbol */
const Cache *cache_of(const Run *run, const Node *n);           /* the one that its attribute names */
/* The layer that `number` and the attribute `start` say; -1 and a diagnostic if the cache has none such. */
int64_t cache_layer(Run *run, const Node *n, const Cache *cache, const Value *number);

/* Element steps of `v` for each axis of `type`: 0 where v lacks the axis. */
void value_steps(const Value *v, const Type *type, int64_t steps[MAX_RANK]);

void eval_node(Run *run, const Node *n);
bool eval_body(Run *run, const Graph *body, Value *const *params, Value **results);

/* interpret_math.c */
void eval_map(Run *run, const Node *n, Value *out);
void eval_reduce(Run *run, const Node *n, Value *out);
void eval_softmax(Run *run, const Value *in, const char *axis, Value *out);
/* log(sum(exp(in))) along the axis, which `out` lacks; -inf where there is nothing but -inf */
void eval_log_sum(Run *run, const Value *in, const char *axis, Value *out);
/* sum over `over` of a * b. skip_zero: where a is exactly 0, b is not read (a masked NaN stays out). */
void eval_dot(Run *run, const Value *a, const Value *b, const char *const *over, int n_over, bool skip_zero, Value *out);
void copy_strided(Value *out, const double *from, const int64_t steps[MAX_RANK]);

/* interpret_order.c */
void eval_scan(Run *run, const Node *n, Value *out);
void eval_topk(Run *run, const Node *n, Value *out);

/* interpret_check.c: false and a diagnostic if the run-time sizes do not fit this graph and the bodies in it */
bool check_sizes(Run *run, const Graph *g);

/* interpret_kernel.c */
void eval_kernel(Run *run, const Node *n);
void eval_linear(Run *run, const Node *n);                      /* interpret_linear.c */
void eval_codebook(Run *run, const Node *n);                    /* interpret_codebook.c */

#endif
