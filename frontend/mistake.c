/* Syntax errors in words: what was found, what could stand there instead, and advice for the mistakes that people make most. */
#include <stdio.h>
#include <string.h>

#include "frontend/syntax.h"
#include "parser.h"

typedef struct Words {
    const char *items[8];
    int count;
} Words;

enum { MAX_EXPECTED = 4, SHOWN = 40 };

bool is_keyword(int kind)
{
    return kind >= T_CONFIG && kind <= T_NONE;
}

const char *token_text(const Parser *p, const Token *t)
{
    if (t->kind == 0)
        return "the end of the file";
    if (t->kind == ';' && t->begin == t->end)
        return "the end of the line";
    if (t->begin == t->end)
        return "a missing bracket";
    const char *text = p->source->text + t->begin;
    size_t length = t->end - t->begin;
    if (length <= SHOWN)
        return arena_print(p->cx->arena, "`%.*s`", (int)length, text);
    length = SHOWN;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return arena_print(p->cx->arena, "`%.*s...`", (int)length, text);
}

void mistake_depth(Parser *p, Span at)
{
    if (p->hopeless)
        return;
    p->hopeless = true;
    Diag *d = diag_error(p->cx->diags, "E0108", at, "nested too deeply");
    if (at.end > at.begin + 1)
        d->at.end = at.begin + 1;
    diag_help(d, "give an inner part a name of its own");
}

/* ---- what was expected ---------------------------------------------------------------------------------------------------------------- */

static bool has(const int *kinds, int n, int kind)
{
    for (int i = 0; i < n; i++)
        if (kinds[i] == kind)
            return true;
    return false;
}

static void add(Words *w, const char *text)
{
    if (w->count < (int)(sizeof w->items / sizeof *w->items))
        w->items[w->count++] = text;
}

/* Classes of tokens first, then single ones; operators last, since they can follow almost anything. */
static Words words_for(const int *kinds, int n)
{
    static const struct {
        int kind;
        const char *text;
    } single[] = {
        {T_STRING, "a string"},
        {T_NUMBER, "a number"},
        {':', "`:`"},
        {'=', "`=`"},
        {',', "`,`"},
        {')', "`)`"},
        {']', "`]`"},
        {'{', "`{`"},
        {'(', "`(`"},
        {'<', "`<`"},
        {'[', "`[`"},
        {T_ARROW, "`->`"},
        {T_GIVES, "`=>`"},
        {T_THEN, "`then`"},
        {T_ELSE, "`else`"},
        {'}', "`}`"},
        {';', "a new line"},
        {T_NONE, "`none`"},
        {0, "the end of the file"},
    };
    Words w = {.count = 0};
    bool expression = has(kinds, n, T_NUMBER) && has(kinds, n, '!');
    bool operators = has(kinds, n, '+') && has(kinds, n, T_OTHERWISE);
    bool statement = has(kinds, n, T_RETURN) && has(kinds, n, T_ASSERT);
    bool declaration = has(kinds, n, T_BLOCK) && has(kinds, n, T_CONFIG);
    bool type = has(kinds, n, T_NAME) && has(kinds, n, '[') && !expression && !operators;
    if (statement)
        add(&w, "a statement");
    else if (declaration)
        add(&w, "a declaration");
    else if (expression)
        add(&w, "an expression");
    else if (type)
        add(&w, "a type");
    else if (has(kinds, n, T_NAME))
        add(&w, "a name");
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        int kind = single[i].kind;
        bool of_expression = kind == T_STRING || kind == T_NUMBER || kind == T_NONE || kind == '(' || kind == '[';
        if (!has(kinds, n, kind) || ((expression || operators) && of_expression) || (type && kind == '['))
            continue;
        if (operators && kind == '=')
            continue;
        if ((operators && (kind == '<' || kind == 0)) || kind == ';' || kind == '}')
            continue;
        if (declaration || statement)
            continue;
        if (kind == T_STRING && (type || (has(kinds, n, ':') && has(kinds, n, '=')))) /* a name in quotes: rarely meant */
            continue;
        if (operators && kind == T_ELSE && !has(kinds, n, T_THEN) && has(kinds, n, ';'))
            continue;
        add(&w, single[i].text);
    }
    int most = MAX_EXPECTED - operators - (has(kinds, n, ';') || has(kinds, n, '}'));
    if (w.count > most)
        w.count = most;
    if (operators)
        add(&w, "an operator");
    if (has(kinds, n, ';') && (operators || w.count == 0))
        add(&w, "a new line");
    else if (has(kinds, n, '}'))
        add(&w, "`}`");
    return w;
}

static const char *join_words(Parser *p, const Words *w)
{
    Text t = text_new(p->cx->arena);
    for (int i = 0; i < w->count; i++)
        text_add(&t, "%s%s", i == 0 ? "" : i + 1 < w->count ? ", " : " or ", w->items[i]);
    return t.data;
}

/* ---- advice ------------------------------------------------------------------------------------------------------------------------------ */

bool ends_statement_kind(int kind)
{
    return kind == ';' || kind == '{' || kind == '}';
}

/* The token that began the statement of token `i`. */
static const Token *statement_start(const Parser *p, size_t i)
{
    enum { FAR = 400 };
    size_t first = i > FAR ? i - FAR : 0;
    while (i > first && !ends_statement_kind(p->tokens[i - 1].kind))
        i--;
    return &p->tokens[i];
}

static bool already_reported(const Parser *p, size_t i)
{
    for (const Token *t = statement_start(p, i); t <= &p->tokens[i]; t++)
        if (t->reported)
            return true;
    return i + 1 < p->n_tokens && p->tokens[i + 1].reported && !ends_statement_kind(p->tokens[i].kind);
}

bool is_infix_token(int kind)
{
    switch (kind) {
    case '+':
    case '*':
    case '/':
    case '%':
    case '^':
    case '&':
    case '|':
    case '<':
    case '>':
    case '-':
    case T_EQ:
    case T_NE:
    case T_LE:
    case T_GE:
    case T_OTHERWISE:
    case T_RANGE:
    case T_AS:
    case T_PIPE: return true;
    default: return false;
    }
}

static bool report_keyword_as_name(Parser *p, const Token *found, const int *expected, int n)
{
    int next = found->kind ? found[1].kind : 0;
    bool named = next == '=' || next == ':';
    if (!is_keyword(found->kind) || !has(expected, n, T_NAME) ||
        (!named && (found->after_newline || found->kind == T_THEN || found->kind == T_ELSE)))
        return false;
    Diag *d = diag_error(p->cx->diags, "E0109", token_span(p, found), "%s is a keyword and cannot be a name",
                         token_text(p, found));
    diag_help(d, "choose another name");
    return true;
}

/* `let = 3`: the keyword has been taken for what it means. */
static bool report_keyword_before(Parser *p, const Token *found, const Token *before)
{
    if (!before || !is_keyword(before->kind) || (found->kind != '=' && found->kind != ':'))
        return false;
    if (before->kind == T_TRUE || before->kind == T_FALSE || before->kind == T_NONE)
        return false;
    const int name = T_NAME;
    return report_keyword_as_name(p, before, &name, 1);
}

static bool begins_expression(int kind)
{
    switch (kind) {
    case T_STRING:
    case T_NUMBER:
    case T_TRUE:
    case T_FALSE:
    case T_NONE:
    case T_FN:
    case '(':
    case '[':
    case '!': return true;
    default: return false;
    }
}

/* `foo(x)` on a line of its own, in a body. */
static bool report_bare_expression(Parser *p, const Token *found, const Token *start, const int *expected, int n)
{
    bool operand = start == found && has(expected, n, T_RETURN) && begins_expression(found->kind);
    bool goes_on = found->kind == '(' || found->kind == '.' || found->kind == '[' || is_infix_token(found->kind);
    bool named =
        start + 1 == found && start->kind == T_NAME && goes_on && has(expected, n, '=') && has(expected, n, ',');
    if (!operand && !named)
        return false;
    Diag *d = diag_error(p->cx->diags, "E0101", token_span(p, start), "an expression alone is not a statement");
    diag_help(d, "give its value a name: `y = ...`, or `return` it");
    return true;
}

static bool report_operator_first(Parser *p, const Token *found)
{
    if (!found->after_newline || !is_infix_token(found->kind))
        return false;
    const char *text = token_text(p, found);
    Diag *d = diag_error(p->cx->diags, "E0101", token_span(p, found), "a statement cannot begin with %s", text);
    diag_note(d, "the newline before it ended the statement");
    diag_help(d, "put %s at the end of the line above, or the whole expression in parentheses", text);
    return true;
}

static bool report_second_equals(Parser *p, const Token *found, const Token *start)
{
    if (found->kind != '=' || found[-(p->current > 0)].kind == '=')
        return false;
    for (const Token *t = start; t < found; t++) {
        if (t->kind != '=')
            continue;
        Diag *d = diag_error(p->cx->diags, "E0110", token_span(p, found), "a second `=` in one statement");
        diag_help(d, "write `==` to compare; a statement gives a name to one value");
        return true;
    }
    return false;
}

static bool compares(int kind)
{
    return kind == T_EQ || kind == T_NE || kind == T_LE || kind == T_GE || kind == '<' || kind == '>';
}

/* `a < b < c`: the operators of that class have no order among themselves. */
static bool report_chain(Parser *p, const Token *found, const int *expected, int n)
{
    bool range = found->kind == T_RANGE;
    if ((!compares(found->kind) && !range) || !has(expected, n, '+') || !has(expected, n, T_OTHERWISE))
        return false;
    Diag *d = diag_error(p->cx->diags, "E0101", token_span(p, found),
                         range ? "a range has two ends only" : "comparisons cannot be chained");
    if (!range)
        diag_help(d, "write `a < b & b < c`");
    return true;
}

/* The line, or the block, ended where an expression had to follow: the message points at what asks for it. */
static bool report_nothing_after(Parser *p, const Token *found, const Token *before, const int *expected, int n)
{
    bool ended = found->after_newline || found->kind == '}' || found->kind == ';' || found->kind == 0;
    if (!ended || !before || !has(expected, n, T_NUMBER) || !has(expected, n, '!') ||
        found == statement_start(p, p->current))
        return false;
    Diag *d = diag_error(p->cx->diags, "E0101", token_span(p, before), "expected an expression after %s",
                         token_text(p, before));
    if (before->kind == ',')
        diag_help(d, "leave out the last `,`");
    return true;
}

static bool report_known(Parser *p, const Token *found, const int *expected, int n)
{
    const Token *before = p->current ? found - 1 : NULL;
    const Token *start = statement_start(p, p->current);
    bool fresh = start == found;
    bool operand = has(expected, n, '+') && has(expected, n, T_OTHERWISE); /* one ends here */
    return (fresh && report_operator_first(p, found)) || mistake_habit(p, found, start, operand) ||
           report_keyword_before(p, found, before) ||
           report_keyword_as_name(p, found, expected, n) ||
           report_second_equals(p, found, start) ||
           report_bare_expression(p, found, start, expected, n) ||
           report_chain(p, found, expected, n) || report_nothing_after(p, found, before, expected, n);
}

/* Advice that depends on what is missing rather than on what stands there. */
static void add_help(Parser *p, Diag *d, const Token *found, const int *expected, int n)
{
    const Token *start = statement_start(p, p->current);
    bool closes = found->kind == ')' || found->kind == ']';
    bool result = p->current && found->kind == ',' && has(expected, n, '{');
    for (size_t i = p->current; result && i > 0 && p->tokens[i].kind != T_ARROW; i--)
        result = !ends_statement_kind(p->tokens[i - 1].kind);
    if (result)
        diag_help(d, "several results stand in parentheses: `-> ([B, S, D], [B, D]) {`");
    else if (has(expected, n, T_ARROW) && found->kind == '{')
        diag_help(d, "say what it returns: `-> [B, S, D] {`");
    else if (start->kind == T_REPEAT && found <= start + 2)
        diag_help(d, "a loop is written `repeat i < L at \"layers.{i}\" { ... }`");
    else if (closes && p->current && found[-1].kind == ',')
        diag_help(d, "leave out the last `,`");
    else if (closes && has(expected, n, ':') && has(expected, n, '='))
        diag_help(d, "a parameter has a type or a default: `x: [B, S, D]` or `eps=1e-5`");
    else if (found->kind == T_PIPE)
        diag_help(d, "what goes into the call stands in front of `|>`");
    else if (found->kind == T_NAME && has(expected, n, T_STRING) && !has(expected, n, T_NAME))
        diag_help(d, "paths and tensor names stand in quotes: \"%.*s\"", (int)(found->end - found->begin),
                  p->source->text + found->begin);
    else if (found->kind == '=' && has(expected, n, T_GIVES))
        diag_help(d, "a tensor name is mapped by `=>`");
    else if (found->kind == T_NAME && found[1].kind == '=' && has(expected, n, T_LET) && has(expected, n, T_BLOCK))
        diag_help(d, "outside of blocks, write `let %.*s = ...`", (int)(found->end - found->begin),
                  p->source->text + found->begin);
    else if (has(expected, n, ',') && (found->kind == T_NAME || begins_expression(found->kind)) &&
             !has(expected, n, ';'))
        diag_help(d, "is a `,` missing?");
}

static bool declares(int kind)
{
    return kind >= T_CONFIG && kind <= T_MODEL;
}

/* After a broken declaration its insides may stand outside of all braces: they are silent until the next declaration. */
static bool lost(Parser *p, const int *expected, int n)
{
    if (!has(expected, n, T_BLOCK) || !has(expected, n, T_CONFIG))
        return false;
    bool before = p->lost > 0;
    for (size_t i = p->lost; i <= p->current && before; i++)
        before = !(declares(p->tokens[i].kind) && (i == 0 || p->tokens[i - 1].kind == ';'));
    p->lost = p->current + 1;
    return before;
}

/* The reader goes on behind the statement: at its `;`, or at the `}` around it. Braces inside are skipped whole. */
static void skip_statement(Parser *p)
{
    int braces = 0;
    size_t i = p->current;
    for (; p->tokens[i].kind != 0; i++) {
        int kind = p->tokens[i].kind;
        if (braces == 0 && (kind == ';' || kind == '}'))
            break;
        braces += (kind == '{') - (kind == '}');
    }
    if (i > p->current)
        p->next = i;
}

void mistake_report(Parser *p, const int *expected, int n_expected)
{
    const Token *found = &p->tokens[p->current];
    bool silent = lost(p, expected, n_expected) || already_reported(p, p->current);
    if (!silent && !report_known(p, found, expected, n_expected)) {
        Words words = words_for(expected, n_expected);
        const char *what = token_text(p, found);
        Diag *d;
        if (words.count == 0)
            d = diag_error(p->cx->diags, "E0101", token_span(p, found), "%s cannot stand here", what);
        else
            d = diag_error(p->cx->diags, "E0101", token_span(p, found), "expected %s, found %s", join_words(p, &words),
                           what);
        add_help(p, d, found, expected, n_expected);
    }
    skip_statement(p);
}
