/*-------------------------------------------------------------------------
 *
 * ubsan_defaults.h
 *    Options of UBSan, included into each source file by test/sanitize/run.
 *
 * UBSan reads its environment when it writes the first report. In a server
 * process this is too late: the server has overwritten that memory with the
 * title of the process. It also cannot write reports into files: it sets their
 * path by a function that AddressSanitizer has as well, for its own reports.
 * Reports are therefore in the logs of servers, where test/run finds them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef UBSAN_DEFAULTS_H
#define UBSAN_DEFAULTS_H

#ifdef __cplusplus
extern "C"
#else
extern
#endif
const char *__ubsan_default_options(void);

__attribute__((weak, visibility("default"))) const char *
__ubsan_default_options(void)
{
	return "halt_on_error=1:abort_on_error=1:print_stacktrace=1";
}

#endif							/* UBSAN_DEFAULTS_H */
