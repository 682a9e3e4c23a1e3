/* SPDX-License-Identifier: MIT */
/*
 * The registers that the bootloader touches, of STM32F10x and Cortex-M3; names as in the manuals.
 *
 * RM0008 Rev 12 (reference manual), PM0075 Rev 2 (flash programming), PM0056 (Cortex-M3).
 *
 * Addresses are constants, not symbols of the linker script: the bootloader is position-independent,
 * and what moves with it must be reached relative to the program counter, what does not must not be.
 */
#ifndef BOOT_REGS_H
#define BOOT_REGS_H

#include <stddef.h>
#include <stdint.h>

struct rcc_regs { /* RM0008 §7.3 */
    uint32_t CR, CFGR, CIR, APB2RSTR, APB1RSTR, AHBENR, APB2ENR, APB1ENR, BDCR, CSR;
};
#define RCC                     ((volatile struct rcc_regs *)0x40021000U)
#define RCC_CR_HSION            (1U << 0)
#define RCC_CR_HSITRIM_RESET    (16U << 3)
#define RCC_CR_HSEON            (1U << 16)
#define RCC_CR_HSERDY           (1U << 17)
#define RCC_CR_PLLON            (1U << 24)
#define RCC_CR_PLLRDY           (1U << 25)
#define RCC_CFGR_SW_PLL         (2U << 0)
#define RCC_CFGR_SWS_PLL        (2U << 2)
#define RCC_CFGR_PPRE1_DIV2     (4U << 8)
#define RCC_CFGR_PLLSRC_HSE     (1U << 16)
#define RCC_CFGR_PLLXTPRE_DIV2  (1U << 17)
#define RCC_CFGR_PLLMUL(n)      (((n)-2U) << 18)
#define RCC_APB2ENR_IOPEN(port) (4U << PORT_NUMBER(port))
#define RCC_CFGR_USBPRE         (1U << 22)
#define RCC_APB1ENR_USBEN       (1U << 23)
#define RCC_APB1ENR_BKPEN       (1U << 27)
#define RCC_APB1ENR_PWREN       (1U << 28)
#define RCC_CSR_RMVF            (1U << 24)
#define RCC_CSR_PINRSTF         (1U << 26)
#define RCC_CSR_PORRSTF         (1U << 27)
#define RCC_CSR_SFTRSTF         (1U << 28)
#define RCC_CSR_IWDGRSTF        (1U << 29)
#define RCC_CSR_WWDGRSTF        (1U << 30)
#define RCC_CSR_LPWRRSTF        (1U << 31)

struct flash_regs { /* PM0075 §3; words only */
    uint32_t ACR, KEYR, OPTKEYR, SR, CR, AR, reserved, OBR, WRPR;
};
#define FLASH_REGS          ((volatile struct flash_regs *)0x40022000U)
#define FLASH_ACR_LATENCY_2 (2U << 0)
#define FLASH_ACR_PRFTBE    (1U << 4)
#define FLASH_KEY1          0x45670123U /* PM0075 §2.3.1 */
#define FLASH_KEY2          0xCDEF89ABU
#define FLASH_SR_BSY        (1U << 0)
#define FLASH_SR_PGERR      (1U << 2) /* write 1 to clear, as the next two */
#define FLASH_SR_WRPRTERR   (1U << 4)
#define FLASH_SR_EOP        (1U << 5)
#define FLASH_CR_PG         (1U << 0)
#define FLASH_CR_PER        (1U << 1)
#define FLASH_CR_STRT       (1U << 6)
#define FLASH_CR_LOCK       (1U << 7)
#define FLASH_CR_OPTPG      (1U << 4)
#define FLASH_CR_OPTER      (1U << 5)
#define FLASH_CR_OPTWRE     (1U << 9)
#define FLASH_OBR_RDPRT     (1U << 1)

#define PORT_NUMBER(letter) (((letter)-0x41U) & 7) /* 'A' is 0 */
struct gpio_regs {                                 /* RM0008 §9.2 */
    uint32_t CRL, CRH, IDR, ODR, BSRR, BRR, LCKR;
};
#define GPIO(port)                ((volatile struct gpio_regs *)(0x40010800U + PORT_NUMBER(port) * 0x400U))
#define GPIO_CRH_RESET            0x44444444U /* floating inputs */
#define GPIO_CRH_OUTPUT_2MHZ(pin) (GPIO_CRH_RESET ^ (4U ^ 2U) << ((pin)-8U) * 4U)

struct usb_regs { /* RM0008 §23.5; 16-bit registers in 32-bit slots */
    uint32_t EPR[8], reserved[8], CNTR, ISTR, FNR, DADDR, BTABLE;
};
_Static_assert(offsetof(struct usb_regs, CNTR) == 0x40, "RM0008 §23.5.1");
#define USB ((volatile struct usb_regs *)0x40005C00U)
/* EPnR: DTOG and STAT bits toggle where 1 is written, CTR bits clear where 0 is written. */
#define USB_EPR_CTR_RX       (1U << 15)
#define USB_EPR_RX_VALID     (3U << 12)
#define USB_EPR_RX_STALL     (1U << 12)
#define USB_EPR_SETUP        (1U << 11)
#define USB_EPR_TYPE_CONTROL (1U << 9)
#define USB_EPR_CTR_TX       (1U << 7)
#define USB_EPR_TX_VALID     (3U << 4)
#define USB_EPR_TX_NAK       (2U << 4)
#define USB_EPR_TX_STALL     (1U << 4)
#define USB_EPR_STAT         (3U << 12 | 3U << 4)
#define USB_CNTR_PDWN        (1U << 1)
#define USB_CNTR_FRES        (1U << 0)
#define USB_ISTR_CTR         (1U << 15)
#define USB_ISTR_RESET       (1U << 10)
#define USB_DADDR_EF         (1U << 7)
/* Packet memory: 256 half-words, each in a 32-bit slot (RM0008 §23.4.2). The descriptor table of
 * endpoint 0 stands at its start. */
#define USB_PMA ((volatile uint32_t *)0x40006000U)

#define PWR_CR_DBP      (1U << 8)                               /* RM0008 §5.4.1 */
#define BKP_DR(n)       (((volatile uint32_t *)0x40006C00U)[n]) /* RM0008 §6.4.1; n = 1 … 10 */
#define PWR_CR_FROM_BKP ((0x40007000U - 0x40006C00U) / 4)       /* PWR_CR, as if it were BKP_DR */

#define IWDG_KR        (*(volatile uint32_t *)0x40003000U) /* RM0008 §19.4.1 */
#define IWDG_KR_RELOAD 0xAAAAU

struct systick_regs { /* PM0056 §4.5 */
    uint32_t CTRL, LOAD, VAL, CALIB;
};
#define SYSTICK                ((volatile struct systick_regs *)0xE000E010U)
#define SYSTICK_CTRL_ENABLE    (1U << 0)
#define SYSTICK_CTRL_HCLK      (1U << 2)
#define SYSTICK_CTRL_COUNTFLAG (1U << 16)

struct scb_regs { /* PM0056 §4.4 */
    uint32_t CPUID, ICSR, VTOR, AIRCR, SCR, CCR, SHPR[3], SHCSR, CFSR;
};
#define SCB                   ((volatile struct scb_regs *)0xE000ED00U)
#define SCB_VTOR              (*(volatile uint32_t *)0xE000ED08U) /* PM0056 §4.4.4 */
#define SCB_CCR_BFHFNMIGN     (1U << 8)
#define SCB_CFSR              (*(volatile uint32_t *)0xE000ED28U) /* PM0056 §4.4.10; write 1 to clear */
#define SCB_AIRCR             (*(volatile uint32_t *)0xE000ED0CU) /* PM0056 §4.4.5 */
#define SCB_AIRCR_SYSRESETREQ 0x05FA0004U

#define FLASH_BASE        0x08000000U
#define SRAM_BASE         0x20000000U
#define SYSTEM_MEMORY     0x1FFFF000U /* PM0075 §2.1 */
#define OPTION_BYTES      0x1FFFF800U
#define OPTION_BYTES_SIZE 16U
#define OPTION_RDP_OPEN   0xA5 /* no protection against reading (PM0075 §2.4.1) */
#define OPTION_BYTES_END  (OPTION_BYTES + OPTION_BYTES_SIZE)
#define FLASH_SIZE_KB     (*(volatile const uint16_t *)0x1FFFF7E0U) /* RM0008 §30.1.1 */
#define UNIQUE_ID         0x1FFFF7E8U                               /* RM0008 §30.2; 96 bits */

#endif
