/* Giving back memory that has done its work. */
#ifndef ATTAR_RUNTIME_TRIM_H
#define ATTAR_RUNTIME_TRIM_H

/* The code pages of the shared library that holds `address` leave this process's resident memory; they come back from the page cache when
 * the library is called again, so any thread may go on using it. A library that is not the file's unchanged text is left alone. */
void trim_library_code(const void *address);

#endif
