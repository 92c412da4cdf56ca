create role shop login superuser;
create database shop;
\connect shop
create table customers (id int primary key, name text not null, email text not null, note text);
insert into customers values
  (1, 'Anna Kowalska', 'anna.kowalska@example.com', 'prefers card 4111 1111 1111 1111'),
  (2, 'Jean Dupont',   'jean.dupont@example.org',   'call after six'),
  (3, 'Maria Silva',   'maria.silva@example.net',   null);
create table carts_2025 (id int);
