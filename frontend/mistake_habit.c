/* Syntax errors that are habits of other languages: the message says how it is written here, with the words at hand. */
#include <string.h>

#include "frontend/syntax.h"
#include "parser.h"

static bool token_is(const Parser *p, const Token *t, const char *word)
{
    return t->kind == T_NAME && t->end - t->begin == strlen(word) &&
           memcmp(p->source->text + t->begin, word, strlen(word)) == 0;
}

/* `and`, `or`, `not` between or before operands. */
static bool report_word_operator(Parser *p, const Token *found, const Token *before)
{
    static const struct {
        const char *word, *sign;
    } words[] = {{"and", "&"}, {"or", "|"}, {"not", "!"}, {"is", "=="}, {"div", "/"}, {"mod", "%"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const Token *t = token_is(p, found, words[i].word)              ? found
                         : before && token_is(p, before, words[i].word) ? before
                                                                        : NULL;
        if (!t)
            continue;
        Diag *d = diag_error(p->cx->diags, "E0113", token_span(p, t), "`%s` is not an operator of this language",
                             words[i].word);
        const Token *next = t->kind ? t + 1 : t;
        bool is = !strcmp(words[i].word, "is"), no = is && token_is(p, next, "not");
        const char *sign = no ? "!=" : words[i].sign;
        next += no && next->kind;
        diag_help(d, is && token_is(p, next, "None") ? "write `%s none`" : "write `%s`", sign);
        return true;
    }
    return false;
}

/* `config["hidden_size"]`, `config.hidden_size`: in a config declaration a key stands alone. */
static bool report_config_read(Parser *p, const Token *found)
{
    const Token *next = found->kind == T_CONFIG ? found + 1 : NULL;
    if (!next || (next->kind != '[' && next->kind != '.'))
        return false;
    Diag *d = diag_error(p->cx->diags, "E0109", token_span(p, found), "%s is a keyword and cannot be a name",
                         token_text(p, found));
    while (next->kind && (next->kind == '.' || next->kind == '[' || next->kind == '(' || token_is(p, next, "get")))
        next++;
    uint32_t quote = next->kind == T_STRING, length = next->end - next->begin;
    if (next->kind == T_NAME || (quote && length > 2))
        diag_help(d, "a key of config.json stands alone: write `%.*s`", (int)(length - 2 * quote),
                  p->source->text + next->begin + quote);
    return true;
}

/* Where the part of an expression that token i ends begins: after `=`, `,`, a bracket, a word. */
static size_t part_start(const Parser *p, size_t i)
{
    int depth = 0;
    while (i > 0) {
        int kind = p->tokens[i - 1].kind;
        depth += (kind == ')' || kind == ']') - (kind == '(' || kind == '[');
        if (depth < 0 || (depth == 0 && (kind == '=' || kind == ',' || ends_statement_kind(kind) || is_keyword(kind))))
            break;
        i--;
    }
    return i;
}

/* The token that ends the part which begins at token i. */
static size_t part_end(const Parser *p, size_t i, int stop)
{
    int depth = 0;
    for (; p->tokens[i].kind; i++) {
        int kind = p->tokens[i].kind;
        if (depth == 0 && (kind == stop || kind == ',' || kind == ')' || kind == ']' || ends_statement_kind(kind)))
            break;
        depth += (kind == '(' || kind == '[') - (kind == ')' || kind == ']');
    }
    return i;
}

static const char *part_text(const Parser *p, size_t from, size_t to)
{
    if (to <= from)
        return "...";
    uint32_t begin = p->tokens[from].begin, end = p->tokens[to - 1].end;
    return arena_print(p->cx->arena, "%.*s", (int)(end - begin), p->source->text + begin);
}

/* `a if c else b` */
static bool report_choice(Parser *p, const Token *found)
{
    if (found->kind != T_IF || found->after_newline)
        return false;
    size_t at = p->current, other = part_end(p, at + 1, T_ELSE);
    Diag *d = diag_error(p->cx->diags, "E0113", token_span(p, found), "a choice begins with `if`");
    if (p->tokens[other].kind == T_ELSE)
        diag_help(d, "write `if %s then %s else %s`", part_text(p, at + 1, other), part_text(p, part_start(p, at), at),
                  part_text(p, other + 1, part_end(p, other + 1, 0)));
    else
        diag_help(d, "write `if condition then a else b`");
    return true;
}

/* `x[:, 0]` */
static bool report_slice(Parser *p, const Token *found)
{
    int depth = 0;
    size_t i = found->kind == ':' ? p->current : 0;
    for (; i > 0 && depth >= 0 && !ends_statement_kind(p->tokens[i - 1].kind); i--) {
        int kind = p->tokens[i - 1].kind;
        depth += (kind == ']' || kind == ')') - (kind == '[' || kind == '(');
    }
    if (depth >= 0 || i == 0 || p->tokens[i].kind != '[')
        return false;
    int before = p->tokens[i - 1].kind;
    if (before != T_NAME && before != ')' && before != ']')
        return false;
    Diag *d = diag_error(p->cx->diags, "E0113", token_span(p, found), "parts of an axis are not written with `:`");
    diag_help(d, "`slice(x, S, 0)` is the first position of the axis `S`, `split(x, [N, E])` cuts the last axis");
    return true;
}

/* `x += y` */
static bool report_augmented(Parser *p, const Token *found, const Token *start)
{
    const Token *next = found->kind ? found + 1 : found;
    bool sign = found->kind == '+' || found->kind == '-' || found->kind == '*' || found->kind == '/';
    if (start + 1 != found || start->kind != T_NAME || !sign || next->kind != '=' || next->begin != found->end)
        return false;
    Span at = token_span(p, found);
    at.end = next->end;
    Diag *d = diag_error(p->cx->diags, "E0113", at, "`%c=` is not a sign of this language", found->kind);
    const char *name = part_text(p, (size_t)(start - p->tokens), (size_t)(start - p->tokens) + 1);
    diag_help(d, "write `%s = %s %c ...`", name, name, found->kind);
    return true;
}

/* `a @ b` */
static bool report_matrix_product(Parser *p, const Token *found)
{
    if (found->kind != '@' || found->after_newline)
        return false;
    Diag *d = diag_error(p->cx->diags, "E0113", token_span(p, found), "`@` does not multiply here");
    diag_help(d, "`linear(x, \"name\", F)` multiplies by a weight, `dot(x, y, over=D)` two tensors; "
                 "`*` is element by element");
    return true;
}

bool mistake_habit(Parser *p, const Token *found, const Token *start, bool operand)
{
    const Token *before = p->current ? found - 1 : NULL;
    return report_word_operator(p, found, before) || report_config_read(p, found) ||
           (operand && (report_choice(p, found) || report_matrix_product(p, found))) ||
           report_augmented(p, found, start) || report_slice(p, found);
}
