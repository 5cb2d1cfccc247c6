/*-------------------------------------------------------------------------
 *
 * compat.h
 *    Every difference between PostgreSQL 15 and 18 that pg_eddy meets.
 *
 * No other file tests PG_VERSION_NUM, except include islands directly under
 * its includes. Each macro or inline function carries the name eddy_compat_*
 * and the shape of the newest server where that is possible.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_COMPAT_H
#define EDDY_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "pg_eddy needs PostgreSQL 15 or newer"
#endif

#endif							/* EDDY_COMPAT_H */
