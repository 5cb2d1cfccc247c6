/*-------------------------------------------------------------------------
 *
 * calendar.h
 *    Windows of days and months, in a time zone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CALENDAR_H
#define EDDY_CALENDAR_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/* A length: exactly one of these is not zero. */
typedef struct EddyLength
{
	int32		months;
	int32		days;			/* of the calendar, in a time zone */
	int64		usec;
} EddyLength;

/* Numbered windows that follow each other without gaps; number 0 starts on 1970-01-01. */
typedef struct EddyCalendar
{
	EddyLength	length;			/* days or months */
	int32		offset_months;
	int64		offset_usec;	/* of local time */
	pg_tz	   *zone;			/* NULL: times are local already */
} EddyCalendar;

extern pg_tz *eddy_calendar_zone(const char *name);

/* The number of the window that contains a time. */
extern int64 eddy_calendar_find(const EddyCalendar *calendar, Timestamp time);

/* The start of a window, and n lengths after it. */
extern Timestamp eddy_calendar_start(const EddyCalendar *calendar, int64 number);
extern Timestamp eddy_calendar_after(const EddyCalendar *calendar, int64 number,
									 const EddyLength *length, int64 n);

#endif							/* EDDY_CALENDAR_H */
