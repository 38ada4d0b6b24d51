/* Inner loops of assembly and of objects: which ones multiply and add, and which of those touch the stack. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/disassemble.h"
#include "runtime/compiler.h"

typedef struct Trial {
    Arena arena;
    Diags diags;
    Context cx;
} Trial;

static void trial_open(Trial *t)
{
    memset(t, 0, sizeof *t);
    t->diags.arena = &t->arena;
    t->cx = (Context){.arena = &t->arena, .diags = &t->diags};
}

static void check_loop(const HotLoop *l, const char *function, int instructions, int multiply_adds, int reads, int writes)
{
    ck_assert_str_eq(l->function, function);
    ck_assert_int_eq(l->instructions, instructions);
    ck_assert_int_eq(l->multiply_adds, multiply_adds);
    ck_assert_int_eq(l->stack_reads, reads);
    ck_assert_int_eq(l->stack_writes, writes);
}

/* An outer loop around two inner ones; scalar multiply-adds, arrays, calls and other functions' labels do not count. */
static const char x86[] = "\t.text\nfirst:                   # @first\n\t.cfi_startproc\n\tmovq\t%rsp, %rcx\n"
                          ".LBB0_1:                 # =>This Loop Header\n\txorl\t%eax, %eax\n"
                          ".LBB0_2:\n\tvbroadcastss\t(%rdi,%rax), %ymm0 # a comment\n\tvfmadd231ps\t(%rsi), %ymm0, %ymm1\n"
                          "\tvmovaps\t%ymm2, 32(%rsp)                 # 32-byte Spill\n\tvfmadd231ps\t64(%rsp), %ymm0, %ymm3\n"
                          "\tmovq\t8(%rsp), %rdx\n\tvmovups\t(%rsp,%rax,4), %ymm4\n\tincq\t%rax\n\tjne\t.LBB0_2\n"
                          ".LBB0_3:\n\tvmulps\t%xmm0, %xmm1, %xmm2\n\tvaddps\t%xmm2, %xmm3, %xmm3\n\tdecq\t%rax\n\tjne\t.LBB0_3\n"
                          "\tdecq\t%rcx\n\tjne\t.LBB0_1\n\tretq\n"
                          "second:\n.LBB1_1:\n\tvfmadd231ss\t(%rsi), %xmm0, %xmm1\n\tcallq\tfirst\n\tdecl\t%eax\n\tjne\t.LBB1_1\n\tjmp\t.LBB0_2\n"
                          "framed:\n\tpushq\t%rbp\n\tmovq\t%rsp, %rbp\n.L5:\n\tmulps\t-16(%rbp), %xmm1\n\tmovaps\t%xmm1, -32(%rbp)\n\tjg\t.L5\n\tret\n";

START_TEST(loops_of_x86)
{
    Trial t;
    trial_open(&t);
    int n;
    HotLoop *l = hot_loops_of_text(&t.cx, x86, strlen(x86), &n);
    ck_assert_int_eq(n, 3);
    check_loop(&l[0], "first", 8, 2, 1, 1);
    check_loop(&l[1], "first", 4, 1, 0, 0);
    check_loop(&l[2], "framed", 3, 1, 1, 1);
    arena_free(&t.arena);
}
END_TEST

static const char arm[] = "f:                        // @f\n.LBB0_1:                // Loop\n\tldr\tq0, [x1], #16\n\tfmla\tv1.4s, v0.4s, v2.s[0]\n"
                          "\tldp\tq4, q5, [sp, #32]       // 32-byte Folded Reload\n\tstr\tq1, [sp, #16]\n\tldr\tx3, [sp, #8]\n\tsubs\tx2, x2, #1\n\tb.ne\t.LBB0_1\n\tret\n";
static const char risc[] = "f:                        # @f\n.LBB0_1:\n\tvle32.v\tv8, (a1)\n\tvfmacc.vf\tv10, fa5, v8\n\taddi\ta0, sp, 16\n\tvl2r.v\tv12, (a0) # Unknown-size Folded Reload\n"
                           "\tadd\ta3, a3, sp\n\taddi\ta3, a3, 64\n\tvs2r.v\tv10, (a3)\n\tnop\n\tnop\n\tnop\n\tvs2r.v\tv10, (a4)\n\tbnez\ta2, .LBB0_1\n\tret\n";

START_TEST(loops_of_others)
{
    Trial t;
    trial_open(&t);
    int n;
    HotLoop *l = hot_loops_of_text(&t.cx, arm, strlen(arm), &n);
    ck_assert_int_eq(n, 1);
    check_loop(l, "f", 7, 1, 1, 1);
    l = hot_loops_of_text(&t.cx, risc, strlen(risc), &n);
    ck_assert_int_eq(n, 1);
    check_loop(l, "f", 12, 1, 1, 1);
    arena_free(&t.arena);
}
END_TEST

/* ROWS x 4 sums of 4 floats beside one row of b: 3 rows fit into 16 registers, 6 do not. */
static const char kernel[] = "typedef float lanes __attribute__((vector_size(16), aligned(4)));\n"
                             "void k%d(long n, const float *a, const float *b, float *c);\n"
                             "void k%d(long n, const float *a, const float *b, float *c)\n{\n"
                             "    lanes sum[%d][4];\n"
                             "    for (int r = 0; r < %d; r++) for (int v = 0; v < 4; v++) sum[r][v] = (lanes){0};\n"
                             "    _Pragma(\"clang loop unroll(disable)\") for (long i = 0; i < n; i++) {\n"
                             "        const lanes *w = (const lanes *)(b + 16 * i);\n"
                             "        _Pragma(\"clang loop unroll(full)\") for (int r = 0; r < %d; r++)\n"
                             "            _Pragma(\"clang loop unroll(full)\") for (int v = 0; v < 4; v++) sum[r][v] += (a[r * n + i] - (lanes){0}) * w[v];\n    }\n"
                             "    for (int r = 0; r < %d; r++) for (int v = 0; v < 4; v++) *(lanes *)(c + 16 * r + 4 * v) = sum[r][v];\n}\n";

START_TEST(loops_of_an_object)
{
    Trial t;
    trial_open(&t);
    Compiler clang;
    ck_assert(compiler_find(&t.cx, NULL, &clang));
    for (int rows = 2; rows <= 6; rows += 4) {
        static const char *const flags[] = {"-O2", NULL};
        const char *text = arena_print(&t.arena, kernel, rows, rows, rows, rows, rows, rows);
        const CodeUnit unit = {.text = text, .length = strlen(text)};
        CompilerJob job = {.unit = &unit};
        int n;
        HotLoop *l;
        ck_assert(compiler_run(&t.cx, &clang, flags, &job, 1, 1, 60));
        unsigned char *object = job.object;
        size_t bytes = job.bytes;
        ck_assert(hot_loops_of_object(&t.cx, object, bytes, &l, &n));
        ck_assert_int_eq(n, 1);
        ck_assert_str_eq(l->function, rows == 2 ? "k2" : "k6");
        ck_assert_int_eq(l->multiply_adds, 4 * rows);
#ifdef __x86_64__
        ck_assert_int_eq(l->stack_writes > 0, rows == 6);
#endif
        ck_assert(!hot_loops_of_object(&t.cx, object, bytes / 2, &l, &n));
        for (size_t at = 0; at < bytes; at += 37) { /* whatever the bytes are, nothing outside them is read */
            object[at] ^= 0x41;
            hot_loops_of_object(&t.cx, object, bytes, &l, &n);
            object[at] ^= 0x41;
        }
        free(object);
    }
    arena_free(&t.arena);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hot loops");
    TCase *c = tcase_create("hot loops");
    tcase_add_test(c, loops_of_x86);
    tcase_add_test(c, loops_of_others);
    tcase_add_test(c, loops_of_an_object);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
