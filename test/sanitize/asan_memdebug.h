/*-------------------------------------------------------------------------
 *
 * asan_memdebug.h
 *    Makes PostgreSQL's memory contexts visible to AddressSanitizer.
 *
 * The sanitizer tracks malloc, but a memory context allocates large blocks and
 * divides them into chunks: writing past a chunk, or into one that was freed,
 * stays within a block and is not detected. For valgrind the contexts report
 * each chunk through the macros of utils/memdebug.h. A server built by
 * test/sanitize/run defines them here instead, so that the same memory is
 * poisoned and unpoisoned for the sanitizer.
 *
 * Only addressability is tracked; reads of uninitialized memory are not
 * detected. A context itself wipes freed chunks and marks them as not
 * accessible, so VALGRIND_MEMPOOL_FREE is empty.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ASAN_MEMDEBUG_H
#define ASAN_MEMDEBUG_H

extern void __asan_poison_memory_region(void const volatile *addr, size_t size);
extern void __asan_unpoison_memory_region(void const volatile *addr, size_t size);

#define VALGRIND_MAKE_MEM_NOACCESS(addr, size)	__asan_poison_memory_region((addr), (size))
#define VALGRIND_MAKE_MEM_UNDEFINED(addr, size)	__asan_unpoison_memory_region((addr), (size))
#define VALGRIND_MAKE_MEM_DEFINED(addr, size)	__asan_unpoison_memory_region((addr), (size))
#define VALGRIND_MEMPOOL_ALLOC(context, addr, size) \
	__asan_unpoison_memory_region((addr), (size))

#define VALGRIND_CHECK_MEM_IS_DEFINED(addr, size)			do {} while (0)
#define VALGRIND_CREATE_MEMPOOL(context, redzones, zeroed)	do {} while (0)
#define VALGRIND_DESTROY_MEMPOOL(context)					do {} while (0)
#define VALGRIND_MEMPOOL_FREE(context, addr)				do {} while (0)
#define VALGRIND_MEMPOOL_CHANGE(context, optr, nptr, size)	do {} while (0)
#define VALGRIND_MEMPOOL_TRIM(context, addr, size)			do {} while (0)

#endif							/* ASAN_MEMDEBUG_H */
