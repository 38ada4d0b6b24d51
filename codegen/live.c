/* Rows that a mask drops and nothing reads (`live` of a kernel: docs/kernels.md): text by which an entry leaves them
 * out. A kernel of rows is called for one run of kept rows after the other; threads share out the kept ones. */
#include "codegen/live.h"

#include <string.h>

/* Beginning a run costs a product about as much as so many rows: the weights come through the cache once more. */
enum { GAP = 8 };

const Node *live_input(const Emitter *e, const Kernel *k)
{
    const char *name = attr_name(k->node, ATTR_live);
    if (!name || !k->rows || e->options->taps) /* a tap shows values whole */
        return NULL;
    for (int i = 0; i < e->model->n_params; i++)
        if (!strcmp(e->model->params[i]->name, name))
            return e->model->params[i];
    return NULL;
}

void emit_live(bool threads, Text *out)
{
    text_add(out, "enum { GAP = %d };\n", GAP);
    text_add(out, "struct live {                           /* kept rows, one run of them after the other */\n"
                  "    const unsigned char *keep;\n"
                  "    ptrdiff_t from, to;\n"
                  "};\n\n"
                  "/* The next run of rows that are kept, of [from_row, to_row); 0: that was the last one. Fewer than "
                  "GAP rows in between\n"
                  " * that are not kept are computed, too. */\n"
                  "static int next_run(struct live *live, ptrdiff_t from_row, ptrdiff_t to_row)\n{\n"
                  "    ptrdiff_t row = live->to > from_row ? live->to : from_row;\n"
                  "    while (row < to_row && !live->keep[row])\n"
                  "        row++;\n"
                  "    live->from = live->to = row;\n"
                  "    for (; row < to_row && row < live->to + GAP; row++)\n"
                  "        if (live->keep[row])\n"
                  "            live->to = row + 1;\n"
                  "    if (live->from < live->to)\n"
                  "        return 1;\n"
                  "    live->to = 0;\n"
                  "    return 0;\n"
                  "}\n\n");
    if (threads)
        text_add(out, "static ptrdiff_t count_kept(const unsigned char *keep, ptrdiff_t rows)\n{\n"
                      "    ptrdiff_t kept = 0;\n"
                      "    for (ptrdiff_t row = 0; row < rows; row++)\n"
                      "        kept += keep[row] != 0;\n"
                      "    return kept;\n"
                      "}\n\n");
}
