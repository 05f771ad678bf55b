/* Reads 100 registers over a serial line with libmodbus, as often as each line of stdin says, and tells how
   long that took: "wall_ns cpu_ns". Built and run by benchmarks/rtu.py. */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    uint16_t got[100];
    char line[32];
    modbus_t *bus = argc == 3 ? modbus_new_rtu(argv[1], atoi(argv[2]), 'N', 8, 1) : NULL;
    if (!bus || modbus_set_slave(bus, 1) || modbus_set_response_timeout(bus, 2, 0) ||
        modbus_set_byte_timeout(bus, 1, 0) || modbus_connect(bus)) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        long long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        for (int left = atoi(line); left > 0; left--)
            if (modbus_read_registers(bus, 0, 100, got) != 100 || got[99] != 99) {
                fprintf(stderr, "%s\n", modbus_strerror(errno));
                return 1;
            }
        printf("%lld %lld\n", now(CLOCK_MONOTONIC) - wall, now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
        fflush(stdout);
    }
    return 0;
}
