/* The other of two objects that link_check puts into memory. */
double two(const float *x, int n);
int counter[3];
extern int where;

double two(const float *x, int n)
{
    double sum = 0.123456789;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (i & 1 ? 0.75 : 1.25) + (double)where;
    counter[2] = counter[2] * 3 + 1;
    return sum;
}
