/* One of two objects that link_check puts into memory: constants of every size, a table of strings, a switch,
 * memset, and what the other one has. */
typedef __SIZE_TYPE__ size_t;
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
double two(const float *x, int n);
extern int counter[3];
typedef float lanes __attribute__((vector_size(16)));
typedef double wide __attribute__((vector_size(16)));

static const char *const words[] = {"zero", "one", "two", "three"};
static const short odd[] = {3, 5, 7, 11, 13};
int where = 40;

static int choose(int i)
{
    switch (i) {
    case 0: return words[1][0];
    case 1: return words[2][1] * 3;
    case 2: return words[3][2] + where;
    case 3: return 77 - i;
    case 4: return odd[i] * counter[2];
    case 5: return 1 << i;
    default: return -i;
    }
}

int check(int n);
int check(int n)
{
    float x[64];
    memset(x, 0, sizeof x);
    memcpy(x + 8, words, 0);
    lanes sum = {0.25f, 0.5f, 0.75f, 1.5f};
    wide other = {0.1, 0.3};
    for (int i = 0; i < n && i < 64; i++) {
        x[i] = (float)choose(i % 8) * 1.0625f;
        sum = sum * 0.987654f + x[i];
        other = other * 1.0000001 + (double)x[i];
    }
    counter[0] += n;
    where++;
    return (int)(two(x, n < 64 ? n : 64) + (double)(sum[0] + sum[1] + sum[2] + sum[3]) + other[0] + other[1]) +
           counter[0] * 1000;
}
